package ets

import (
	"archive/zip"
	"crypto/cipher"
	"fmt"
	"hash/crc32"
	"io"
)

// zipCrypto is the old stream cipher of zip files (APPNOTE 6.1), which ETS4 and ETS5 protect projects with. It
// is broken as a cipher; here it is only read.
type zipCrypto [3]uint32

// zipCryptoHeader is the length of what stands before the content (APPNOTE 6.1.3).
const zipCryptoHeader = 12

// openZipCrypto gives the content of a file as a stream. A wrong password passes once in 256 times; then the
// content does not unpack, or not to its checksum.
func openZipCrypto(f *zip.File, packed io.Reader, password string) (io.Reader, error) {
	z := zipCrypto{0x12345678, 0x23456789, 0x34567890}
	for i := range len(password) {
		z.update(password[i])
	}
	plain := cipher.StreamReader{S: &z, R: packed}
	var header [zipCryptoHeader]byte
	if _, err := io.ReadFull(plain, header[:]); err != nil {
		return nil, fmt.Errorf("the encrypted file ends within its header: %w", err)
	}
	check := byte(f.CRC32 >> 24)
	if f.Flags&0x8 != 0 { // the checksum was not known yet
		check = byte(f.ModifiedTime >> 8)
	}
	if header[zipCryptoHeader-1] != check {
		return nil, ErrWrongPassword
	}
	return plain, nil
}

// XORKeyStream decrypts. The keys follow the plain text.
func (z *zipCrypto) XORKeyStream(dst, src []byte) {
	for i, c := range src {
		t := z[2] | 2
		dst[i] = c ^ byte(t*(t^1)>>8)
		z.update(dst[i])
	}
}

func (z *zipCrypto) update(plain byte) {
	step := func(sum uint32, b byte) uint32 { return crc32.IEEETable[byte(sum)^b] ^ sum>>8 }
	z[0] = step(z[0], plain)
	z[1] = (z[1]+z[0]&0xFF)*134775813 + 1
	z[2] = step(z[2], byte(z[1]>>24))
}
