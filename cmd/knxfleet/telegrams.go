package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type watchCmd struct {
	client
	selectFlags
	formatFlag

	Since      moment        `help:"Begin in the past: 2h ago as 2h, or at a time such as 2026-11-21T08:00:00+01:00." placeholder:"WHEN"`
	Last       uint32        `help:"Begin with so many telegrams of each building." placeholder:"COUNT"`
	Snapshot   bool          `help:"Begin with the last value of each group address."`
	Reconnect  bool          `help:"Go on when the gateway was away, with what was missed meanwhile."`
	ResumeFile string        `help:"Keep in this file how far it came, and go on there the next time." placeholder:"FILE"`
	For        time.Duration `help:"End after this long; 0 goes on until interrupted." default:"0s"`
}

// Run prints telegrams as they come.
func (c *watchCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := lasting(ctx, c.For)
	defer cancel()
	request := &knxfleetv1.StreamTelegramsRequest{
		Buildings: c.Buildings, LabelSelector: c.Selector, GroupAddresses: c.Group, Names: c.Name, Sources: c.Source, Kinds: c.kinds(),
		Since: c.Since.at(time.Now()), Last: c.Last, Snapshot: c.Snapshot,
	}
	if err := c.resume(request); err != nil {
		return err
	}
	show := c.writer(c.json(), s.out, s.err)
	return show.end(c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		for {
			err := c.follow(ctx, telegrams, request, show)
			if !c.Reconnect || ctx.Err() != nil || status.Code(err) != codes.Unavailable {
				return ended(ctx, err)
			}
			fmt.Fprintln(s.err, "knxfleet: the gateway is away; waiting for it:", describe(err))
		}
	}))
}

// follow reads one stream to its end, and has the request go on after it.
func (c *watchCmd) follow(ctx context.Context, telegrams knxfleetv1.TelegramServiceClient, request *knxfleetv1.StreamTelegramsRequest, show telegramWriter) error {
	stream, err := telegrams.StreamTelegrams(ctx, request, grpc.WaitForReady(c.Reconnect))
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, t := range response.GetTelegrams() {
			if err := show.telegram(t); err != nil {
				return err
			}
		}
		if gap := response.GetGap(); gap != nil {
			if err := show.gap(gap); err != nil {
				return err
			}
		}
		if token := response.GetResumeToken(); token != "" {
			goOn(request, token)
			if c.ResumeFile != "" {
				if err := os.WriteFile(c.ResumeFile, []byte(token+"\n"), 0o600); err != nil {
					return err
				}
			}
		}
	}
}

// resume has the request go on where the file says.
func (c *watchCmd) resume(request *knxfleetv1.StreamTelegramsRequest) error {
	if c.ResumeFile == "" {
		return nil
	}
	token, err := os.ReadFile(c.ResumeFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // the first time
	case err != nil:
		return usageError{err}
	}
	if text := strings.TrimSpace(string(token)); text != "" {
		goOn(request, text)
	}
	return nil
}

// goOn has the request go on after a token.
func goOn(request *knxfleetv1.StreamTelegramsRequest, token string) {
	request.ResumeToken, request.Since, request.Last, request.Snapshot = token, nil, 0, false
}

func shortKind(k knxfleetv1.Telegram_Kind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "KIND_"))
}

// telegramValue is the value with its unit and name where they are known, and
// the bytes where they are not.
func telegramValue(t *knxfleetv1.Telegram) string {
	var parts []string
	switch {
	case t.GetKind() == knxfleetv1.Telegram_KIND_READ:
	case t.GetValue() != "":
		parts = append(parts, t.GetValue(), t.GetUnit())
	case t.GetInvalid():
		parts = append(parts, "invalid", "0x"+hex.EncodeToString(t.GetRaw()))
	default:
		parts = append(parts, "0x"+hex.EncodeToString(t.GetRaw()))
	}
	if t.GetName() != "" {
		parts = append(parts, "("+t.GetName()+")")
	}
	if t.GetSentByGateway() {
		parts = append(parts, "[ours]")
	}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}
