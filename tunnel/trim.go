package tunnel

import (
	"bytes"
	"crypto/rand"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/rs/zerolog"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// trimmer gives the memory of wireguard-go's message buffers back to the system,
// but for the part that a message of usual size needs. A device waits with at least
// two of these buffers in its hands, of 64 KiB each, and each time the garbage
// collector has freed one and the runtime hands its memory out again, it is
// cleared, and by that occupied, from end to end. See
// docs/adr/0021-trimmed-buffers.md.
//
// A buffer is trimmed when it is handed to us to be filled, and then has a mark
// behind the place of the message. Whatever makes the memory occupied again, the
// runtime's clearing or a large message, overwrites the mark; so a buffer is
// trimmed once, and not for every message. The nil trimmer does nothing.
type trimmer struct {
	page   int // of the system, in bytes
	mark   [markSize]byte
	log    zerolog.Logger
	failed atomic.Bool
	count  atomic.Uint64 // buffers trimmed
}

const (
	// keptSize is how much of a buffer stays as it is: a message on any usual
	// path, with 1500 bytes or less, and the mark.
	keptSize = 4096
	// markSize makes the mark a number that no peer can guess, and put where it
	// is looked for.
	markSize = 16
)

// newTrimmer returns nil where trimming does not work.
func newTrimmer(log zerolog.Logger) *trimmer {
	if !canTrim {
		return nil
	}
	t := &trimmer{page: os.Getpagesize(), log: log}
	_, _ = rand.Read(t.mark[:]) // never fails
	return t
}

// trim makes the bytes of an unused message buffer behind the first keptSize read as
// zero, and occupy no memory until they are written to. Nothing else may use the
// buffer meanwhile.
func (t *trimmer) trim(buffer []byte) {
	if t == nil || len(buffer) < 2*keptSize || t.failed.Load() {
		return
	}
	mark := buffer[keptSize-markSize : keptSize]
	if bytes.Equal(mark, t.mark[:]) {
		return
	}
	copy(mark, t.mark[:])
	if from, to := t.spare(buffer); from < to {
		if err := giveBack(buffer[from:to]); err != nil {
			if !t.failed.Swap(true) {
				t.log.Warn().Err(err).Msg("message buffers cannot be trimmed: each tunnel takes more memory in the long run")
			}
			return
		}
		t.count.Add(1)
	}
}

// trims returns how many buffers were trimmed so far.
func (t *trimmer) trims() uint64 {
	if t == nil {
		return 0
	}
	return t.count.Load()
}

// spare returns which bytes of a buffer lie in pages that hold nothing but it, from
// keptSize on. A message buffer is an odd 65535 bytes, but the runtime gives an
// object of that size pages of its own: its last page is included, and giveBack
// takes the page whole.
func (t *trimmer) spare(buffer []byte) (from, to int) {
	into := int(uintptr(unsafe.Pointer(unsafe.SliceData(buffer))) % uintptr(t.page)) //nolint:gosec // its place in its first page; nothing is read through it
	from = (into+keptSize+t.page-1)/t.page*t.page - into
	if into == 0 && len(buffer) == device.MaxMessageSize && t.page <= runtimePage {
		return from, len(buffer)
	}
	return from, (into+len(buffer))/t.page*t.page - into
}

// runtimePage is what the runtime rounds large objects up to.
const runtimePage = 8192

// trimmed is a tun.Device that trims the buffers which it is given to fill.
type trimmed struct {
	tun.Device

	trimmer *trimmer
}

// Read implements tun.Device.
func (d trimmed) Read(buffers [][]byte, sizes []int, offset int) (int, error) {
	for _, b := range buffers {
		d.trimmer.trim(b)
	}
	return d.Device.Read(buffers, sizes, offset)
}
