//go:build !unix

package keyset

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: access is inherited from the folder.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
