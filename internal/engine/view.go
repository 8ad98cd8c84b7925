package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The server removes the folder of a stream that it does not recover, with all that is in
// it, whatever the reason; that the disk has no room for one more file is enough. So it is
// started over a folder in which each stream is a link to the real one: all that it can
// remove is the link.
const (
	viewDir = "view"
	// streamsDir is where the server keeps streams, in a data directory and in a view.
	streamsDir = "jetstream/$G/streams"
	// viewLink leads from a view's folder of streams to the data directory.
	viewLink = "../../../.."
)

// show brings the view up to date and returns the folder for the server to work in. Where
// links cannot be made that is the data directory itself, and room is looked for first.
func (h *host) show() (string, error) {
	view := filepath.Join(h.dir, viewDir)
	links := filepath.Join(view, streamsDir)
	h.shown = nil
	if err := os.MkdirAll(links, 0o700); err != nil {
		return "", h.full(err)
	}
	switch err := h.tryLink(view); {
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EPERM):
		h.linked = false
		h.log.Warn().Err(err).Str("dir", h.dir).Msg("the disk of the data directory takes no symbolic links, which guard the store when there is no room")
		return h.dir, errors.Join(os.RemoveAll(view), h.noRoom())
	case err != nil:
		return "", h.full(err)
	}
	h.linked = true
	if err := h.clear(links); err != nil {
		return "", err
	}
	streams, err := os.ReadDir(filepath.Join(h.dir, streamsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, stream := range streams {
		if err := h.link(stream.Name()); err != nil {
			return "", h.full(err)
		}
		h.shown = append(h.shown, stream.Name())
	}
	return view, nil
}

// tryLink tells whether a folder takes links.
func (h *host) tryLink(dir string) error {
	link := filepath.Join(dir, "probe.tmp")
	if err := h.symlink(".", link); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Remove(link)
}

// clear removes the links of the start before. A program that copied the data directory
// may have followed them, and left copies.
func (h *host) clear(links string) error {
	found, err := os.ReadDir(links)
	if err != nil {
		return err
	}
	for _, entry := range found {
		path, place := filepath.Join(links, entry.Name()), filepath.Join(h.dir, streamsDir, entry.Name())
		if entry.Type() != fs.ModeSymlink && !exists(place) {
			return fmt.Errorf("%s belongs into %s, where there is nothing: move it there; nothing was changed", path, place)
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) link(stream string) error {
	err := h.symlink(filepath.Join(viewLink, streamsDir, stream), filepath.Join(h.dir, viewDir, streamsDir, stream))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// place makes room for a stream that is about to be made. Files in its place that hold
// messages are a reason to refuse; others are what is left of an attempt before.
func (h *host) place(stream string) error {
	folder := filepath.Join(h.dir, streamsDir, stream)
	blocks, err := filepath.Glob(filepath.Join(folder, "msgs", "*.blk"))
	if err != nil {
		return err
	}
	for _, block := range blocks {
		if info, err := os.Stat(block); err != nil || info.Size() > 0 {
			return errors.Join(err, fmt.Errorf("%s has messages of a stream that the store does not know: restore the directory from a backup; nothing was changed", block))
		}
	}
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o700)); err != nil {
		return err
	}
	if !h.linked {
		return nil
	}
	// The server may have removed them while they were empty.
	if err := os.MkdirAll(filepath.Join(h.dir, viewDir, streamsDir), 0o700); err != nil {
		return err
	}
	return h.link(stream)
}

// whole fails when the server did not recover a stream because there is no room. What it
// did not recover for another reason is the business of those who open it.
func (h *host) whole() error {
	for _, stream := range h.shown {
		_, err := os.Lstat(filepath.Join(h.dir, viewDir, streamsDir, stream))
		if errors.Is(err, fs.ErrNotExist) {
			return h.noRoom()
		}
	}
	return nil
}

// noRoom fails when the disk has no room for what a start may have to write.
func (h *host) noRoom() error {
	if err := writeProbe(h.dir); noSpace(err) {
		return h.full(err)
	}
	return nil
}

// full says how much room is wanted when an error is about that.
func (h *host) full(err error) error {
	if !noSpace(err) {
		return err
	}
	space, _ := freeSpace(h.dir) // without it the rest is said all the same
	cause, _ := errors.AsType[syscall.Errno](err)
	return fmt.Errorf("%w: %d KiB are free on the disk of %s, and up to %d KiB are wanted to start (%w): make room and start again; nothing was lost",
		ErrNoSpace, space.Free>>10, h.dir, probeSize>>10, cause)
}
