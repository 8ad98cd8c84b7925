package ets

import (
	"archive/zip"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // the format has no other hash, and HMAC-SHA-1 stands
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The AE-1 and AE-2 formats of WinZip (AES Encryption Information, §II and §III), which ETS6 protects projects
// with.
const (
	methodAES     = 99     // compression method of an encrypted file
	extraAES      = 0x9901 // extra field with the real one
	aesIterations = 1000
	aesVerifier   = 2  // octets that tell a wrong password
	aesTag        = 10 // octets of the authentication code
)

// openAES gives the content of a file as a stream, after it has checked the password and that the content is
// unchanged.
func openAES(f *zip.File, packed io.Reader, password string) (plain io.Reader, method uint16, authentic bool, err error) {
	keyLength, method, err := aesParameters(f.Extra)
	if err != nil {
		return nil, 0, false, err
	}
	// Memory for the packed content is bounded by the zip, which is in memory, whatever it claims.
	content, err := io.ReadAll(packed)
	if err != nil {
		return nil, 0, false, fmt.Errorf("read the encrypted file: %w", err)
	}
	saltLength := keyLength / 2
	if len(content) < saltLength+aesVerifier+aesTag {
		return nil, 0, false, errors.New("the encrypted file is shorter than its header")
	}
	salt, content := content[:saltLength], content[saltLength:]
	keys, err := pbkdf2.Key(sha1.New, password, salt, aesIterations, 2*keyLength+aesVerifier)
	if err != nil {
		return nil, 0, false, fmt.Errorf("derive the key of the file: %w", err)
	}
	if subtle.ConstantTimeCompare(keys[2*keyLength:], content[:aesVerifier]) == 0 {
		return nil, 0, false, ErrWrongPassword
	}
	content, tag := content[aesVerifier:len(content)-aesTag], content[len(content)-aesTag:]
	mac := hmac.New(sha1.New, keys[keyLength:2*keyLength])
	_, _ = mac.Write(content) // a hash never fails
	if !hmac.Equal(mac.Sum(nil)[:aesTag], tag) {
		return nil, 0, false, ErrWrongPassword // or damaged: a wrong password passes once in 65536 times until here
	}
	block, err := aes.NewCipher(keys[:keyLength])
	if err != nil {
		return nil, 0, false, fmt.Errorf("open the encrypted file: %w", err)
	}
	return cipher.StreamReader{S: &aesCounter{block: block}, R: bytes.NewReader(content)}, method, true, nil
}

// aesParameters reads the extra field: the length of the key and the compression method.
func aesParameters(extra []byte) (keyLength int, method uint16, err error) {
	for len(extra) >= 4 {
		id, length := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; length > len(extra) {
			break
		}
		if id == extraAES && length == 7 && extra[4] >= 1 && extra[4] <= 3 {
			return 8 + 8*int(extra[4]), binary.LittleEndian.Uint16(extra[5:]), nil
		}
		extra = extra[length:]
	}
	return 0, 0, errors.New("the encrypted file does not say how; want AES in WinZip's format")
}

// aesCounter is the counter mode of the format: little-endian and from 1, where cipher.NewCTR counts in
// big-endian.
type aesCounter struct {
	block   cipher.Block
	counter uint64
	pad     [aes.BlockSize]byte
	rest    []byte // of pad
}

// XORKeyStream decrypts.
func (c *aesCounter) XORKeyStream(dst, src []byte) {
	for len(src) > 0 {
		if len(c.rest) == 0 {
			c.counter++
			c.pad = [aes.BlockSize]byte{}
			binary.LittleEndian.PutUint64(c.pad[:], c.counter)
			c.block.Encrypt(c.pad[:], c.pad[:])
			c.rest = c.pad[:]
		}
		n := subtle.XORBytes(dst, src, c.rest)
		dst, src, c.rest = dst[n:], src[n:], c.rest[n:]
	}
}
