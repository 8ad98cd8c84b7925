package engine

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
)

// What the store says is read without a parser where it can be, and otherwise with
// one; both give the same.
func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		says  string
		seq   uint64
		plain bool
		err   error
	}{
		{`{"stream":"TG","seq":7}`, 7, true, nil},
		{`{"stream":"TG","seq":1844674407370955160}`, 1844674407370955160, true, nil},
		{`{"stream":"TG","seq":18446744073709551615}`, 18446744073709551615, false, nil},
		{`{"stream":"TG", "seq":7}`, 7, false, nil},
		{`{"stream":"TG","seq":7,"duplicate": true}`, 7, false, nil},
		{`{"stream":"TG","seq":18446744073709551616}`, 0, false, ErrUnavailable},
		{`{"stream":"TG","seq":}`, 0, false, ErrUnavailable},
		{`{"stream":"TG","seq":7`, 0, false, ErrUnavailable},
		{`{"error":{"code":503,"err_code":10077,"description":"full"},"stream":"TG","seq":0}`, 0, false, ErrUnavailable},
		{``, 0, false, ErrUnavailable},
	} {
		if seq, ok := plainAnswer([]byte(c.says)); ok != c.plain || ok && seq != c.seq {
			t.Errorf("%s: plain %d, %v, want %d, %v", c.says, seq, ok, c.seq, c.plain)
		}
		if seq, err := answer(&nats.Msg{Data: []byte(c.says)}); seq != c.seq || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, %v, want %d, %v", c.says, seq, err, c.seq, c.err)
		}
	}
}

// The server really says it in the form that is read without a parser.
func TestAnswerIsPlain(t *testing.T) {
	j := openWith(t, Config{Dir: t.TempDir(), Keys: newKeys(t)}).Journal()
	inbox := j.engine.conn.NewInbox()
	sub, err := j.engine.conn.SubscribeSync(inbox)
	noError(t, err)
	noError(t, j.engine.conn.PublishRequest(journalPrefix+"b1", inbox, []byte("record")))
	said, err := sub.NextMsgWithContext(t.Context())
	noError(t, err)
	if seq, ok := plainAnswer(said.Data); !ok || seq != 1 {
		t.Errorf("the server says %s, which is read as %d, %v", said.Data, seq, ok)
	}
}
