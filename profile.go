package parley

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// schema returns the migrations of the client's database.
func schema() fs.FS { return must(fs.Sub(schemaFiles, "schema")) }

// Unlock is what opens a profile: Passphrase or KeyFile.
type Unlock = store.Unlock

// Passphrase unlocks a profile by a passphrase, stretched with argon2id.
func Passphrase(p []byte) Unlock { return store.Passphrase(p) }

// KeyFile unlocks a profile by the content of a file of at least 32 bytes.
func KeyFile(path string) Unlock { return store.KeyFile(path) }

// NewKeyFile writes a new key file, mode 0600. It does not replace a file.
func NewKeyFile(path string) error { return store.NewKeyFile(path) }

// InitOptions say what a new profile is like. Dir, Unlock and Wallet are needed.
type InitOptions struct {
	Dir    string
	Unlock Unlock
	// Wallet signs once, to authorise the new device, or more often with
	// Replace. It is not kept.
	Wallet identity.Wallet
	// Name is the account's own ENS name, if it has one. It is shown and not
	// relied on.
	Name string
	// Network and Bootstrap say whom to ask about devices that the account had
	// before, as in Options: the new one goes on with their log. Without
	// Bootstrap the account is taken to be new; if it is not, those who know the
	// earlier devices are warned of a conflict and do not take to the new one.
	Network   string
	Bootstrap []string
	// Replace revokes all earlier devices, which are lost. The wallet signs for
	// each.
	Replace bool
	// DeviceName is at most 64 printable ASCII characters, "parley" if empty.
	DeviceName string
	// FastKDF makes unlocking cheap, for tests.
	FastKDF bool
}

// Keys of the meta table.
const (
	metaAccount   = "account"
	metaLog       = "log"
	metaLink      = "link"
	metaName      = "name"
	metaDevice    = "device" // sealed, scope device
	metaInbox     = "inbox"
	metaBundleSeq = "bundle_seq"
)

const scopeDevice = "device"

// Init makes a profile: a device with keys of its own, authorised by the
// wallet, in a new encrypted database. It returns store.ErrExists, wrapped,
// for a folder that has a profile already, ErrNobody, ErrLog for a log that is
// frozen by a conflict, and whatever the wallet returns; then nothing was made. A crash leaves either the whole profile or none, and
// what is left of none does not hinder the next Init.
func Init(ctx context.Context, o InitOptions) (Info, error) {
	if o.DeviceName == "" {
		o.DeviceName = "parley"
	}
	if o.Name != "" {
		name, err := identity.NormalizeName(o.Name)
		if err != nil {
			return Info{}, &PeerError{o.Name, err}
		}
		o.Name = name
	}
	device, err := identity.NewDevice()
	if err != nil {
		return Info{}, err
	}
	account := identity.KeyAccount(o.Wallet.Address())
	log := identity.NewLog(account)
	if len(o.Bootstrap) > 0 {
		if log, err = earlierLog(ctx, account, o.Network, o.Bootstrap); err != nil {
			return Info{}, err
		}
	}
	now := time.Now()
	if o.Replace {
		for _, d := range log.Devices(now) {
			if log, err = identity.RevokeDevice(ctx, log, o.Wallet, d.SigningKey, identity.ReasonLost, now, false); err != nil {
				return Info{}, fmt.Errorf("parley: revoke device %q: %w", d.Name, err)
			}
		}
	}
	log, err = identity.AuthorizeDevice(ctx, log, o.Wallet, device, identity.Authorization{Name: o.DeviceName})
	var conflict *identity.ConflictError
	switch {
	case errors.As(err, &conflict):
		return Info{}, fmt.Errorf("%w: %w", ErrLog, err)
	case err != nil:
		return Info{}, fmt.Errorf("parley: authorise this device: %w", err)
	}
	devices := log.Devices(now)
	me := self{account: account, device: device, log: log, link: devices[len(devices)-1].Link, name: o.Name}
	rand.Read(me.inbox[:])
	db, err := store.Create(o.Dir, o.Unlock, schema(), &store.Options{FastKDF: o.FastKDF, Fill: me.save})
	if err != nil {
		return Info{}, err
	}
	if err := db.Close(); err != nil {
		return Info{}, err
	}
	return me.info(), nil
}

// self is the profile's own identity. It does not change while a client is open.
type self struct {
	account identity.Account
	device  *identity.Device
	log     *identity.Log
	link    [identity.DigestSize]byte
	name    string
	inbox   [identity.InboxKeySize]byte
}

func (me *self) save(tx *store.Tx) error {
	if err := tx.CreateScope(scopeDevice); err != nil {
		return err
	}
	sealed, err := tx.SealKey(scopeDevice, "meta/"+metaDevice, me.device.Marshal())
	if err != nil {
		return err
	}
	for key, value := range map[string][]byte{
		metaAccount: me.account.Bytes(), metaLog: me.log.Marshal(), metaLink: me.link[:],
		metaName: []byte(me.name), metaInbox: me.inbox[:], metaDevice: sealed,
	} {
		if _, err := tx.Exec(`INSERT INTO meta (key, value) VALUES (?, ?)`, key, value); err != nil {
			return err
		}
	}
	return nil
}

func loadSelf(tx *store.Tx) (*self, error) {
	me := new(self)
	values := map[string][]byte{}
	for _, key := range []string{metaAccount, metaLog, metaLink, metaName, metaInbox, metaDevice} {
		var v []byte
		if err := tx.QueryRow(`SELECT value FROM meta WHERE key = ?`, key).Scan(&v); err != nil {
			return nil, fmt.Errorf("%w: no %s", store.ErrCorrupt, key)
		}
		values[key] = v
	}
	var key secret.Key
	key, err := tx.UnsealKey(scopeDevice, "meta/"+metaDevice, values[metaDevice])
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	if me.device, err = identity.UnmarshalDevice(key); err != nil {
		return nil, err
	}
	if me.account, err = identity.AccountFromBytes(values[metaAccount]); err != nil {
		return nil, err
	}
	if me.log, err = identity.ParseLog(values[metaLog]); err != nil {
		return nil, err
	}
	me.name = string(values[metaName])
	copy(me.link[:], values[metaLink])
	copy(me.inbox[:], values[metaInbox])
	return me, nil
}

func (me *self) info() Info {
	info := Info{
		Address: me.account.Address.String(),

		Name:     me.name,
		DeviceID: fmt.Sprintf("%x", me.link),
		PeerID:   peerIDOf(me.device),
	}
	for _, d := range me.log.Devices(time.Now()) {
		info.Devices = append(info.Devices, d.Name)
		if d.Link == me.link {
			info.Device = d.Name
		}
	}
	return info
}
