package agree

import (
	"bytes"
	"fmt"
)

// CID names an epoch: the hash of the commit that began it, as groups.CID.
type CID [32]byte

// OrderID names an order: the hash of its signed part.
type OrderID [32]byte

// Device names one installation of an account: the hash of its signature key.
type Device [32]byte

// Account names who a leaf stands for: the subject of its credential, at most
// [MaxAccount] bytes. It is bytes, not text.
type Account string

// Leaf is a member device. Added is the order that brought the account in, which
// successors of the leaf keep: by an update, or a resync. It is zero for those
// who founded the group. A device that is removed and added again is another
// Leaf.
type Leaf struct {
	Account Account
	Device  Device
	Added   OrderID
}

// Class is what a commit does, as its bytes alone tell; of two commits the one
// of the higher class is preferred.
type Class uint8

// Classes of commits.
const (
	Renewal Class = 0 // renews its author's keys and nothing else
	Change  Class = 1 // adds members or changes the configuration
	Removal Class = 2 // executes a Remove order
)

// Node is what the choice needs to know of a commit. All of it follows from the
// bytes of the commit and of those before it.
type Node struct {
	CID    CID // of the epoch that the commit begins
	Parent CID // of the epoch it was made in
	// Author and Device made it: a leaf of the parent epoch.
	Author Account
	Device Device
	Class  Class
	// Removed leave with it, then Added come. A leaf that is resynchronised, or
	// whose device key changes, is in both.
	Removed, Added []Leaf
	// Orders are those that it executes.
	Orders []OrderID
}

func (c CID) String() string     { return fmt.Sprintf("%x", c[:6]) }
func (o OrderID) String() string { return fmt.Sprintf("%x", o[:6]) }
func (d Device) String() string  { return fmt.Sprintf("%x", d[:6]) }

func (c CID) compare(o CID) int         { return bytes.Compare(c[:], o[:]) }
func (o OrderID) compare(p OrderID) int { return bytes.Compare(o[:], p[:]) }
func (d Device) compare(e Device) int   { return bytes.Compare(d[:], e[:]) }
