package journal

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// Position is a place in one building's telegrams.
type Position struct {
	// Epoch rises each time the building's site starts; no two buildings share one.
	Epoch uint64
	// Number counts telegrams from 1 within the epoch. 0 is the epoch's begin.
	Number uint64
}

// Compare gives the order of two places of one building: -1, 0 or 1.
func (p Position) Compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Epoch, o.Epoch), cmp.Compare(p.Number, o.Number))
}

// Mark is a watermark over all buildings of a stream: what lies below it has been
// told. A record lies below it when its epoch is at most Epoch (0: any) and its
// stamp is less than Stamp.
type Mark struct {
	Epoch uint64
	Stamp int64
}

// below reports whether a record lies below the mark.
func (m Mark) below(epoch uint64, stamp int64) bool {
	return stamp < m.Stamp && (m.Epoch == 0 || epoch <= m.Epoch)
}

// cursor says exactly what of a stream has been told: of the buildings in at,
// everything up to their position; of all others, everything below the mark.
//
// Why nothing is lost or repeated. A cursor is made when telegrams have been sent
// to a client, from three things: what was sent, what waits to be sent, and a
// limit, which is a mark such that everything below it is either sent or waits.
//
//   - mark is the limit, lowered to the lowest stamp that still waits. So below the
//     mark everything is sent.
//   - at names each building of which something was sent that is not below the mark,
//     with its last position. Within a building stamps rise with positions, so
//     of a building that is not named nothing was sent that is not below the mark:
//     for it, "below" and "sent" are the same.
//
// The limit is sound for each source:
//
//   - Live: a mark of the journal from before the subscription's queue was drained. It
//     is not above the stamp of any telegram that was between Write and Published then,
//     nor of any that came later. So all below it were in the queue when it was drained,
//     or before. It is that of the moment in which the last telegram of the queue was
//     written, or, where that is not known any more, of the drain before. Telegrams that
//     the queue dropped count as waiting, with the stamp of the first one dropped, until
//     they were read again or told.
//   - Replay: each record carries, as low, a bound on the stamps of all that is
//     stored after it, as the writer knew it. Below the low of the last record that
//     was read, everything is read. It counts up to the journal's mark of when the
//     replay began, so that what is stored and not yet published is named.
//
// Stamps are compared only where one process made them, or where the store has both
// records: a new process begins above all that is stored. But a cursor's stamp may be
// above what a new process with a clock set back gives out; so a cursor holds the
// highest epoch of its time too, and whatever has a higher one is not told yet.
//
// How large it gets. The mark trails what was sent only by what was between Write
// and Published at the same instant, so at names as many buildings as had telegrams
// in these microseconds, not as many as there are, and not those of a slow
// subscriber: what it has not read waits, above the mark, and needs no place. Where
// a token would still be too long (a publisher stood still for long while thousands
// of other buildings went on) names are left out of it: then what came from these
// buildings since the mark comes again on resume, recognisable by its identity.
// Nothing is lost.
type cursor struct {
	// run is the process in which the stream first began, 0 if it reaches further
	// back: only losses of processes before it concern the stream.
	run  uint32
	mark Mark
	at   map[string]reached
}

// reached is the last position that was told of a building.
type reached struct {
	Position
	// stamp is that of the position, which a token does not have. 0: not known.
	stamp int64
}

// MaxToken is the length of the longest resume token, in bytes.
const MaxToken = 64 << 10

// ErrBadToken is wrapped by what is wrong with a resume token.
var ErrBadToken = errors.New("not a resume token of this gateway")

const (
	tokenVersion  = 1
	maxBuildingID = 63
	// fewNamed is how many buildings a token of a live stream names at most as a rule.
	fewNamed = 8
	// manyNamed is when the memory of names is not kept for a few.
	manyNamed = 64
)

// tokens makes a stream's tokens, in memory that is used again: many streams make
// hundreds in a second.
type tokens struct {
	seed       uint32 // checksum of the journal's identity
	named      []named
	body, text []byte
}

// named is a building that a token names.
type named struct {
	id string
	at Position
}

func newTokens(identity string) tokens {
	return tokens{seed: crc32.ChecksumIEEE([]byte(identity))}
}

// encode gives the cursor as a token of at most limit bytes, and how many buildings
// had to be left out.
func (c *cursor) encode(identity string, limit int) (token string, leftOut int) {
	t := newTokens(identity)
	return t.encode(c, limit)
}

// encode gives a cursor as a token of at most limit bytes, and how many buildings had
// to be left out. Tokens are of one length for one cursor, and opaque:
//
//	base64url of: version, CRC-32 of identity and the rest, run (4 bytes), epoch
//	(uvarint), stamp (8 bytes), then by building, in order: length of what the id
//	shares with the one before, length of the rest, the rest, epoch of the mark less
//	its epoch (varint), number (uvarint)
func (t *tokens) encode(c *cursor, limit int) (token string, leftOut int) {
	body := t.body[:0]
	body = append(body, tokenVersion, 0, 0, 0, 0) // then the checksum
	body = binary.BigEndian.AppendUint32(body, c.run)
	body = binary.AppendUvarint(body, c.mark.Epoch)
	body = binary.BigEndian.AppendUint64(body, uint64(c.mark.Stamp))
	room := base64.RawURLEncoding.DecodedLen(min(limit, MaxToken))
	all := t.named[:0]
	for id, at := range c.at {
		all = append(all, named{id, at.Position})
	}
	slices.SortFunc(all, func(a, b named) int { return strings.Compare(a.id, b.id) })
	last := ""
	for i := range all {
		n, before, shared := &all[i], len(body), 0
		for shared < len(n.id) && shared < len(last) && n.id[shared] == last[shared] {
			shared++
		}
		body = append(body, byte(shared), byte(len(n.id)-shared))
		body = append(body, n.id[shared:]...)
		body = binary.AppendVarint(body, int64(c.mark.Epoch)-int64(n.at.Epoch))
		body = binary.AppendUvarint(body, n.at.Number)
		if len(body) > room {
			body = body[:before]
			leftOut++
			continue
		}
		last = n.id
	}
	binary.BigEndian.PutUint32(body[1:], crc32.Update(t.seed, crc32.IEEETable, body[5:]))
	text := base64.RawURLEncoding.AppendEncode(t.text[:0], body)
	if clear(all); len(all) <= manyNamed {
		t.named, t.body, t.text = all, body, text
	} else {
		t.named, t.body, t.text = nil, nil, nil
	}
	return string(text), leftOut
}

// checksum is not a signature: a client that forges a token harms only itself.
func checksum(identity string, body []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte(identity)), crc32.IEEETable, body)
}

func badToken(format string, args ...any) error {
	return fmt.Errorf("%w: %s; start anew without it", ErrBadToken, fmt.Sprintf(format, args...))
}

// decodeCursor reads a token.
func decodeCursor(identity, token string) (cursor, error) {
	if len(token) > MaxToken {
		return cursor{}, badToken("it is %d bytes long, and none is longer than %d", len(token), MaxToken)
	}
	body, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return cursor{}, badToken("it is no base64url text")
	}
	if len(body) < 5 {
		return cursor{}, badToken("it is cut short")
	}
	if body[0] != tokenVersion {
		return cursor{}, badToken("it has version %d, and this program knows version %d", body[0], tokenVersion)
	}
	if binary.BigEndian.Uint32(body[1:]) != checksum(identity, body[5:]) {
		return cursor{}, badToken("it was altered, or another gateway made it")
	}
	f := fields{rest: body[5:]}
	c := cursor{run: binary.BigEndian.Uint32(f.bytes(4)), at: make(map[string]reached)}
	c.mark.Epoch = f.uvarint(maxNumber)
	c.mark.Stamp = int64(binary.BigEndian.Uint64(f.bytes(8)))
	last := ""
	for len(f.rest) > 0 {
		shared := int(f.byte())
		suffix := string(f.bytes(int(f.byte())))
		if shared > len(last) {
			return cursor{}, badToken("a building's id is broken")
		}
		id := last[:shared] + suffix
		if !validID(id) || id <= last {
			return cursor{}, badToken("a building's id is broken")
		}
		epoch := int64(c.mark.Epoch) - f.varint()
		p := Position{Epoch: uint64(epoch), Number: f.uvarint(maxNumber)}
		if f.err == nil && (epoch <= 0 || epoch > maxNumber) {
			return cursor{}, badToken("a building's epoch is out of range")
		}
		c.at[id], last = reached{Position: p}, id
	}
	switch {
	case f.err != nil:
		return cursor{}, badToken("it is cut short or out of range")
	case c.mark.Stamp < 0:
		return cursor{}, badToken("its time is out of range")
	}
	return c, nil
}

// validID reports whether an id can be a building's.
func validID(id string) bool {
	return id != "" && len(id) <= maxBuildingID && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}
