package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/internal/engine"
)

// journalFlags say what is kept of the telegrams. The limits can be changed in the
// configuration file while the gateway runs: SIGHUP reads them again.
type journalFlags struct {
	Journal             string        `enum:"on,off" default:"on" help:"on keeps telegrams, for history and for streams that resume; off does not."`
	JournalMaxAge       time.Duration `default:"24h" help:"Age at which telegrams are dropped." placeholder:"DURATION"`
	JournalMaxBytes     int64         `default:"10737418240" help:"What all telegrams may take on disk; the oldest go first." placeholder:"BYTES"`
	JournalMaxTelegrams int64         `default:"1000000" help:"How many telegrams of a building are kept." placeholder:"COUNT"`
	JournalGrace        time.Duration `default:"24h" help:"How long the telegrams of a deleted building are kept." placeholder:"DURATION"`
}

func (f *journalFlags) limits() engine.Limits {
	return engine.Limits{MaxAge: f.JournalMaxAge, MaxBytes: f.JournalMaxBytes, MaxRecordsPerBuilding: f.JournalMaxTelegrams}
}

// validate tells which flag is out of range.
func (f *journalFlags) validate() error {
	if f.JournalMaxAge <= 0 || f.JournalMaxBytes <= 0 || f.JournalMaxTelegrams <= 0 || f.JournalGrace < 0 {
		return usagef("the journal's limits (--journal-max-age, --journal-max-bytes, --journal-max-telegrams, --journal-grace) must be positive; --journal off keeps nothing")
	}
	if err := f.limits().Validate(); err != nil {
		return usageError{err}
	}
	return nil
}

// openJournal makes the journal over an open store.
func (f *journalFlags) openJournal(ctx context.Context, store *engine.Engine, log zerolog.Logger) *journal.Journal {
	cfg := journal.Config{Log: log}
	if kept := store.Journal(); kept != nil {
		cfg.Store, cfg.Identity, cfg.Epoch = kept, store.Identity(), store.LastEpoch()
	}
	return journal.New(ctx, cfg)
}

// followLimits reads the command line and the configuration file again at each
// signal, and changes the journal's limits to what they say now.
func followLimits(ctx context.Context, args arguments, hangups <-chan os.Signal, store *engine.Engine, log zerolog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
		}
		limits, err := limitsOf(args)
		if err == nil {
			err = store.Journal().SetLimits(ctx, limits)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			log.Error().Err(err).Msg("the journal's limits stay as they are")
		default:
			log.Info().Stringer("age", limits.MaxAge).Int64("bytes", limits.MaxBytes).
				Int64("telegramsOfABuilding", limits.MaxRecordsPerBuilding).Msg("the journal's limits were read again")
		}
	}
}

// limitsOf reads a command line of serve, with the file that it names.
func limitsOf(args arguments) (engine.Limits, error) {
	var c cli
	parser, err := newParser(&c, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		return engine.Limits{}, err
	}
	if _, err := parser.Parse(args); err != nil {
		return engine.Limits{}, err
	}
	return c.Serve.limits(), c.Serve.journalFlags.validate()
}
