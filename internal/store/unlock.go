package store

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

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
func NewKeyFile(path string) error {
	var key [32]byte
	rand.Read(key[:])
	defer clear(key[:])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("store: new key file: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(key[:]) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("store: new key file: %w", err)
	}
	return nil
}

// The modes of an unlock header.
const (
	modePassphrase = 1
	modeKeyFile    = 2
)

const (
	unlockMagic   = "parleyul"
	unlockVersion = 1
	unlockSize    = 8 + 1 + 1 + 4 + 4 + 1 + 16 + 24 + rootSize + chacha20poly1305.Overhead + 8
	rootSize      = 32
)

// unlockHeader is the file "unlock": how a key is made from what the user has,
// and the root key of the profile sealed under that key. Everything else is
// sealed under the root key, so a change of passphrase rewrites this file alone.
type unlockHeader struct {
	mode    uint8
	time    uint32 // argon2id passes; zero, as the next two, for a key file
	memory  uint32 // KiB
	threads uint8
	salt    [16]byte
	nonce   [24]byte
	root    [rootSize + chacha20poly1305.Overhead]byte // sealed
}

// fixed appends the fields that are authenticated with the root key.
func (h *unlockHeader) fixed(b []byte) []byte {
	b = append(b, unlockMagic...)
	b = wire.AppendUint8(b, unlockVersion)
	b = wire.AppendUint8(b, h.mode)
	b = wire.AppendUint32(b, h.time)
	b = wire.AppendUint32(b, h.memory)
	b = wire.AppendUint8(b, h.threads)
	return append(b, h.salt[:]...)
}

func (h *unlockHeader) marshal() []byte {
	b := h.fixed(make([]byte, 0, unlockSize))
	b = append(b, h.nonce[:]...)
	b = append(b, h.root[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:8]...)
}

// parseUnlock decodes a header. The checksum keeps no attacker out; it tells a
// damaged file from a wrong passphrase.
func parseUnlock(b []byte) (*unlockHeader, error) {
	r := wire.NewReader(b)
	if string(r.Bytes(len(unlockMagic))) != unlockMagic {
		return nil, fmt.Errorf("%w: unlock header is not one", ErrCorrupt)
	}
	if v := r.Uint8(); r.Err() == nil && v > unlockVersion {
		return nil, fmt.Errorf("%w: unlock header %d", ErrVersion, v)
	} else if v != unlockVersion {
		return nil, fmt.Errorf("%w: unlock header", ErrCorrupt)
	}
	h := &unlockHeader{mode: r.Uint8(), time: r.Uint32(), memory: r.Uint32(), threads: r.Uint8()}
	r.Copy(h.salt[:])
	r.Copy(h.nonce[:])
	r.Copy(h.root[:])
	sum := r.Bytes(8)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: unlock header: %w", ErrCorrupt, err)
	}
	if want := sha256.Sum256(b[:unlockSize-8]); !bytes.Equal(sum, want[:8]) {
		return nil, fmt.Errorf("%w: unlock header: checksum", ErrCorrupt)
	}
	ok := false
	switch h.mode {
	case modePassphrase:
		ok = h.time >= 1 && h.time <= maxKDFTime && h.threads >= 1 && h.threads <= maxKDFThreads &&
			h.memory >= 8*uint32(h.threads) && h.memory <= maxKDFMemory
	case modeKeyFile:
		ok = h.time == 0 && h.memory == 0 && h.threads == 0
	}
	if !ok {
		return nil, fmt.Errorf("%w: unlock header: parameters", ErrCorrupt)
	}
	return h, nil
}

// newUnlock seals root under u with fresh salt and nonce.
func newUnlock(u Unlock, root secret.Key, opt *Options) (*unlockHeader, error) {
	h := &unlockHeader{mode: modeKeyFile}
	if u.keyFile == "" {
		h.mode, h.time, h.memory, h.threads = modePassphrase, 3, 64<<10, 4
		if opt != nil && opt.FastKDF {
			h.time, h.memory, h.threads = 1, 8, 1
		}
	}
	rand.Read(h.salt[:])
	rand.Read(h.nonce[:])
	kek, err := h.key(u)
	if err != nil {
		return nil, err
	}
	defer kek.Erase()
	aead, err := chacha20poly1305.NewX(kek.Bytes())
	if err != nil {
		return nil, err
	}
	copy(h.root[:], aead.Seal(nil, h.nonce[:], root.Bytes(), h.fixed(nil)))
	return h, nil
}

// key derives the key that seals the root key.
func (h *unlockHeader) key(u Unlock) (secret.Key, error) {
	switch {
	case h.mode == modePassphrase && u.keyFile == "" && len(u.passphrase) > 0:
		return secret.New(argon2.IDKey(u.passphrase, h.salt[:], h.time, h.memory, h.threads, chacha20poly1305.KeySize)), nil
	case h.mode == modeKeyFile && u.keyFile != "":
		content, err := readKeyFile(u.keyFile)
		if err != nil {
			return secret.Key{}, err
		}
		defer clear(content)
		k, err := hkdf.Key(sha256.New, content, h.salt[:], "parley/1 store key file", chacha20poly1305.KeySize)
		return secret.New(k), err
	case u.keyFile == "" && len(u.passphrase) == 0:
		return secret.Key{}, fmt.Errorf("%w: it is empty", ErrPassphrase)
	case h.mode == modeKeyFile:
		return secret.Key{}, fmt.Errorf("%w: the profile wants a key file", ErrPassphrase)
	}
	return secret.Key{}, fmt.Errorf("%w: the profile wants a passphrase", ErrPassphrase)
}

// open returns the root key.
func (h *unlockHeader) open(u Unlock) (secret.Key, error) {
	kek, err := h.key(u)
	if err != nil {
		return secret.Key{}, err
	}
	defer kek.Erase()
	aead, err := chacha20poly1305.NewX(kek.Bytes())
	if err != nil {
		return secret.Key{}, err
	}
	root, err := aead.Open(nil, h.nonce[:], h.root[:], h.fixed(nil))
	if err != nil {
		return secret.Key{}, ErrPassphrase
	}
	return secret.New(root), nil
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	if len(b) < minKeyFile || len(b) > maxKeyFile {
		clear(b)
		return nil, fmt.Errorf("%w: a key file has %d to %d bytes", ErrPassphrase, minKeyFile, maxKeyFile)
	}
	return b, nil
}

// subkey derives a key for one purpose from the root key.
func subkey(root secret.Key, label string) (secret.Key, error) {
	k, err := hkdf.Expand(sha256.New, root.Bytes(), label, chacha20poly1305.KeySize)
	return secret.New(k), err
}
