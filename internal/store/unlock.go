package store

import "errors"

// Unlock is what opens a profile: a passphrase or a key file.
type Unlock struct {
	passphrase []byte
	keyFile    string
}

// Passphrase unlocks by a passphrase, stretched with argon2id (64 MiB, three
// passes). It is taken byte for byte; an empty one is refused. The caller keeps
// p, which may be overwritten once Create or Open has returned.
func Passphrase(p []byte) Unlock { return Unlock{passphrase: p} }

// KeyFile unlocks by the content of a file: 32 to 4096 bytes that nobody can
// guess. See [NewKeyFile].
func KeyFile(path string) Unlock { return Unlock{keyFile: path} }

// NewKeyFile writes a key file of 32 random bytes in hex, mode 0600. It refuses
// to replace a file.
func NewKeyFile(path string) error { return errors.New("store: not written") }
