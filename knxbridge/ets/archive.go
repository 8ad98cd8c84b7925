package ets

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"
)

// archive is a zip in memory. Nothing is unpacked before it is asked for, and no more than the bounds allow.
type archive struct {
	name     string               // before the names of its files in errors
	files    map[string]*zip.File // by name in lower case with slashes: ETS4 writes Project.xml, later ones project.xml
	left     *int                 // octets that may still be unpacked, shared by an archive and the one within
	password string               // for the files that are encrypted
}

// directoryMark begins each entry of a zip's directory (APPNOTE 4.3.12).
var directoryMark = []byte("PK\x01\x02")

func openArchive(name string, data []byte, left *int) (*archive, error) {
	// The reader keeps some 300 octets for each entry, however many the zip claims to have.
	if n := bytes.Count(data, directoryMark); n > maxArchiveFiles {
		return nil, at(Place{File: name}, tooLarge("an archive of more than %d files", maxArchiveFiles))
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, at(Place{File: name}, fmt.Errorf("not a complete zip archive, as every .knxproj is (%w); was it only partly copied?", err))
	}
	a := &archive{name: name, files: map[string]*zip.File{}, left: left}
	for _, f := range r.File {
		a.files[strings.ToLower(strings.ReplaceAll(f.Name, `\`, "/"))] = f
	}
	return a, nil
}

// find gives a file by its name, whatever the case.
func (a *archive) find(name string) (*zip.File, bool) {
	f, ok := a.files[strings.ToLower(name)]
	return f, ok
}

// place is where errors in a file say they are.
func (a *archive) place(f *zip.File) Place {
	name := f.Name
	if a.name != "" {
		name = a.name + "/" + name
	}
	return Place{File: cut(clean(name), maxName)}
}

// encrypted reports whether a file can only be read with a password.
func encrypted(f *zip.File) bool { return f.Flags&0x1 != 0 }

// read calls use with the unpacked content of a file. Where use reads to the end, the content was complete and
// unchanged, or there is an error.
func (a *archive) read(f *zip.File, use func(place Place, r io.Reader) error) error {
	place := a.place(f)
	packed, err := f.OpenRaw()
	if err != nil {
		return at(place, fmt.Errorf("open: %w", err))
	}
	method, sum := f.Method, crc32.NewIEEE()
	if encrypted(f) {
		var authentic bool
		if packed, method, authentic, err = decrypt(f, packed, a.password); err != nil {
			return at(place, err)
		}
		if authentic {
			sum = nil // the checksum may be 0, and is not needed
		}
	}
	switch method {
	case zip.Store:
	case zip.Deflate:
		unpack := flate.NewReader(packed)
		defer unpack.Close() // nothing to be done about an error once all is read
		packed = unpack
	default:
		return at(place, fmt.Errorf("compressed by method %d, want deflate or none", method))
	}
	return at(place, use(place, &unpacked{r: packed, f: f, total: a.left, sum: sum}))
}

// decrypt opens what protects a file. It reports the compression below and whether the content was proven to be
// unchanged.
func decrypt(f *zip.File, packed io.Reader, password string) (plain io.Reader, method uint16, authentic bool, err error) {
	if f.Method == methodAES {
		return openAES(f, packed, password)
	}
	plain, err = openZipCrypto(f, packed, password)
	return plain, f.Method, false, err
}

// errDamaged means that the content of a file is not what was packed.
var errDamaged = errors.New("the file is damaged")

// unpacked reads the content of a file within the bounds and compares its checksum at the end.
type unpacked struct {
	r     io.Reader
	f     *zip.File
	n     uint64
	total *int
	sum   hash.Hash32 // nil where there is nothing to compare
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.n += uint64(n)
	*u.total -= n
	switch {
	case u.n > maxFile:
		return 0, tooLarge("it unpacks to more than %d MiB", maxFile>>20)
	case *u.total < 0:
		return 0, tooLarge("the files unpack to more than %d MiB together", maxUnpacked>>20)
	case u.n > ratioFrom && u.n/maxRatio > u.f.CompressedSize64:
		return 0, tooLarge("it unpacks to more than %d times its size", maxRatio)
	}
	if u.sum != nil {
		_, _ = u.sum.Write(p[:n]) // a hash never fails
	}
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: %w", errDamaged, err)
	case u.sum != nil && u.sum.Sum32() != u.f.CRC32:
		err = fmt.Errorf("%w: wrong checksum", errDamaged)
	}
	return n, err
}
