package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
)

// maxSecretFile bounds what is read of a file with a passphrase or a key, in
// bytes.
const maxSecretFile = 64 << 10

// profileExists reports whether a folder holds a profile, whole or damaged, as
// far as one can see without a passphrase. What an init left behind that did not
// come to its end is none: the next one clears it away.
func profileExists(dir string) bool {
	has := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	return has("unlock") || !has("unlock.new") && (has("keyring") || has("parley.db"))
}

// unlock finds what opens the profile.
func (a *app) unlock(ctx context.Context) (parley.Unlock, error) {
	if file := a.or(a.keyFile, "PARLEY_KEY_FILE"); file != "" && a.passphraseFile == "" {
		if _, err := os.Stat(file); err != nil {
			return parley.Unlock{}, fmt.Errorf("key file: %w", err)
		}
		return parley.KeyFile(file), nil
	}
	passphrase, err := a.passphrase(ctx, "Passphrase: ", false)
	return parley.Passphrase([]byte(passphrase)), err
}

// unlockNew finds what is to open a new profile, and the passphrase if it is
// one. A key file that does not exist is made.
func (a *app) unlockNew(ctx context.Context) (u parley.Unlock, passphrase string, err error) {
	if file := a.or(a.keyFile, "PARLEY_KEY_FILE"); file != "" && a.passphraseFile == "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			if err := parley.NewKeyFile(file); err != nil {
				return u, "", fmt.Errorf("key file: %w", err)
			}
		}
		return parley.KeyFile(file), "", nil
	}
	passphrase, err = a.passphrase(ctx, "New passphrase for the profile: ", true)
	return parley.Passphrase([]byte(passphrase)), passphrase, err
}

// passphrase returns the profile's passphrase from a file, the environment or
// the terminal.
func (a *app) passphrase(ctx context.Context, prompt string, fresh bool) (string, error) {
	p := a.env("PARLEY_PASSPHRASE")
	var err error
	switch {
	case a.passphraseFile != "":
		p, err = secretFile(a.passphraseFile)
	case p == "":
		p, err = a.ask(ctx, prompt, "--passphrase-file, --key-file or PARLEY_PASSPHRASE", fresh)
	}
	if err == nil && p == "" {
		err = usagef("the passphrase is empty")
	}
	return p, err
}

// ask asks for a passphrase at the terminal, twice for a fresh one.
func (a *app) ask(ctx context.Context, prompt, otherwise string, fresh bool) (string, error) {
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usagef("no passphrase, and no terminal to ask at: use %s", otherwise)
	}
	read := func(prompt string) (string, error) {
		fmt.Fprint(a.err, prompt)
		defer fmt.Fprintln(a.err)
		return readPassword(ctx, int(in.Fd()))
	}
	p, err := read(prompt)
	if err != nil || !fresh {
		return p, err
	}
	again, err := read("Again: ")
	if err == nil && again != p {
		err = usagef("the two differ")
	}
	return p, err
}

// readPassword reads a line without echo. When ctx ends, by an interrupt, it puts
// the terminal right; the reading goroutine stays until the process ends, which
// is soon.
func readPassword(ctx context.Context, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type line struct {
		b   []byte
		err error
	}
	done := make(chan line, 1)
	go func() {
		b, err := term.ReadPassword(fd)
		done <- line{b, err}
	}()
	select {
	case l := <-done:
		return string(l.b), l.err
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}

// secretFile reads a passphrase from the first line of a file.
func secretFile(path string) (string, error) {
	b, err := readFile(path)
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err == nil && len(b) > maxSecretFile {
		err = usagef("%s is larger than %d bytes", path, maxSecretFile)
	}
	return b, err
}

// keystoreWallet opens a keystore file.
func (a *app) keystoreWallet(ctx context.Context, path, passphraseFile string) (*identity.KeyWallet, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := identity.KeystoreAddress(b); err != nil {
		if _, err := identity.OpenKeystore(b, ""); errors.Is(err, identity.ErrKeystore) {
			return nil, &messageError{fmt.Sprintf("%s: %v", path, err), err} // before anybody types a passphrase
		}
	}
	var passphrase string
	if passphraseFile != "" {
		passphrase, err = secretFile(passphraseFile)
	} else {
		passphrase, err = a.ask(ctx, "Passphrase of the keystore: ", "--keystore-passphrase-file", false)
	}
	if err != nil {
		return nil, err
	}
	done := a.progress("Opening the keystore")
	w, err := identity.OpenKeystore(b, passphrase)
	done()
	if err != nil {
		return nil, &messageError{fmt.Sprintf("%s: %v", path, err), err}
	}
	return w, nil
}

// keyWallet reads a private key in hex from a file, or from standard input for
// "-".
func (a *app) keyWallet(path string) (*identity.KeyWallet, error) {
	var b []byte
	var err error
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(a.in, maxSecretFile))
	} else {
		b, err = readFile(path)
	}
	if err != nil {
		return nil, err
	}
	w, err := identity.ParseHexKey(string(b))
	if err != nil {
		return nil, &messageError{fmt.Sprintf("%s: %v", path, err), err}
	}
	return w, nil
}

// newKeystore makes a new account and writes its keystore file.
func newKeystore(path, passphrase string) (*identity.KeyWallet, error) {
	w, err := identity.GenerateWallet()
	if err != nil {
		return nil, err
	}
	cost := identity.StandardCost
	if fastKDF {
		cost = identity.LightCost
	}
	b, err := w.Keystore(passphrase, cost)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, &messageError{fmt.Sprintf("%s exists: --keystore %s takes the account in it, --out FILE writes a new one elsewhere", path, path), err}
	}
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return w, nil
}
