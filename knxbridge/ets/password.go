package ets

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// How ETS6 makes the password of the archive out of the project's.
const (
	ets6Salt       = "21.project.ets.knx.org"
	ets6Iterations = 65536
	ets6KeyLength  = 32
)

// archivePasswords are the ways from a project's password to that of its archive, the likely one first: ETS4 and
// ETS5 take it as it is with ZipCrypto, ETS6 derives one with AES.
func archivePasswords(aes bool) []func(string) (string, error) {
	plain := func(password string) (string, error) { return password, nil }
	if aes {
		return []func(string) (string, error){ets6Password, plain}
	}
	return []func(string) (string, error){plain, ets6Password}
}

func ets6Password(password string) (string, error) {
	var utf []byte
	for _, unit := range utf16.Encode([]rune(password)) {
		utf = binary.LittleEndian.AppendUint16(utf, unit)
	}
	key, err := pbkdf2.Key(sha256.New, string(utf), []byte(ets6Salt), ets6Iterations, ets6KeyLength)
	if err != nil {
		return "", fmt.Errorf("derive the key of the archive: %w", err)
	}
	return base64.StdEncoding.EncodeToString(key), nil
}
