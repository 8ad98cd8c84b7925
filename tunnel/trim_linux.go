package tunnel

import "golang.org/x/sys/unix"

// canTrim tells whether giveBack works.
const canTrim = true

// giveBack frees the memory behind pages, which read as zero from then on. They
// begin at a page's begin, and the system rounds their length up to whole pages.
func giveBack(pages []byte) error { return unix.Madvise(pages, unix.MADV_DONTNEED) }
