package main

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/wealdtech/go-ens/v3"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/transport"
)

// Kinds of needles, as the output has them.
const (
	kindText    = "texts"
	kindWord    = "words"
	kindName    = "names"
	kindAddress = "addresses"
	kindGroup   = "groups"
	kindKey     = "keys"
	kindSafe    = "safe"
)

// maxRun is how many equal bytes in a row a ciphertext may have: noise of a
// megabyte has six with a chance of one in a million, and padding in the clear
// has hundreds.
const maxRun = 6

// eavesdropper verifies that what the one without keys has got is complete, and
// tells nothing.
func (s *story) eavesdropper(ctx context.Context) (string, error) {
	if err := s.checkCapture(ctx); err != nil {
		return "", err
	}
	sought, err := s.needles(ctx)
	if err != nil {
		return "", err
	}
	hay := s.w.tap.haystack()
	if err := controlSearch(hay, sought.all); err != nil {
		return "", err
	}
	if found := find(hay, sought.all); len(found) > 0 {
		return "", fmt.Errorf("the eavesdropper finds %s", describe(found))
	}
	captured := s.w.tap.since(0)
	if err := checkNoise(captured); err != nil {
		return "", err
	}
	counts := sought.count()
	all := weigh(captured)
	s.details["captured"], s.details["needles"], s.details["forms"] = all, counts, len(sought.all)
	s.details["found"], s.details["planted"], s.details["plantedFound"] = 0, len(sought.all), len(sought.all)
	s.out.note("captured in all: %s", all)
	s.out.note("searched for %d texts, %d names, %d addresses, %d public keys and ids, the groups, and %d traces of the Safe, in %d forms",
		counts[kindText], counts[kindName], counts[kindAddress], counts[kindKey], counts[kindSafe], len(sought.all))
	// A record names its account. It is for bootstrap peers and contacts.
	offered := s.w.tap.offeredRecords()
	s.details["recordsOffered"] = offered
	if offered > 0 {
		return "", fmt.Errorf("the eavesdropper was offered the records of %d accounts", offered)
	}
	s.out.note("planted in a copy of the capture, each of the %d forms is found", len(sought.all))
	return "no text, name, address, group id, key or trace of the Safe is in it, and it is noise", nil
}

// haystack is all that went over the shards.
func (t *tap) haystack() [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	hay := make([][]byte, len(t.captured))
	for i, c := range t.captured {
		hay[i] = c.raw
	}
	return hay
}

// checkCapture verifies that the capture has what was said, and that all of it
// has the form of an envelope of one of the sizes. A search in nothing finds
// nothing.
func (s *story) checkCapture(ctx context.Context) error {
	said, pairs := 0, 0
	for _, u := range s.spoken {
		if u.group != "" {
			said++
		} else {
			pairs++
		}
	}
	// The removal, bob's proposal and the commit of it; and in the group of the
	// Safe's owners, the commit that brings in the third, and who the third is.
	const handshakes = 3 + 2
	const welcomes = 4 // to the group, and to that of the Safe's owners
	group, others, err := s.overheard(ctx, 0, said+handshakes+s.treasury.items)
	if err != nil {
		return err
	}
	if err := opensAll(ctx, s.w.bob, group); err != nil {
		return fmt.Errorf("bob, on what the eavesdropper has: %w", err)
	}
	if len(others) < pairs+welcomes {
		return fmt.Errorf("the eavesdropper has %d envelopes of pairs, and %d messages were said in them", len(others), pairs+welcomes)
	}
	for _, c := range s.w.tap.since(0) {
		if !slices.Contains(transport.Sizes(), len(c.env.Body)) || len(c.raw) != transport.HeaderSize+len(c.env.Body) {
			return fmt.Errorf("an envelope has %d bytes", len(c.raw))
		}
	}
	if st := s.w.tap.node.Stats(); st.Undelivered+st.QueueFull+st.Throttled+st.Malformed > 0 {
		return fmt.Errorf("the eavesdropper missed something: %+v", st)
	}
	s.details["ofGroup"], s.details["ofPairs"] = len(group), len(others)
	return nil
}

// needles is all that the eavesdropper would like to see.
func (s *story) needles(ctx context.Context) (*needles, error) {
	n := new(needles)
	for _, u := range s.spoken {
		n.text(kindText, u.text, u.text)
		n.words(kindWord, u.text)
	}
	if err := s.safeNeedles(n); err != nil {
		return nil, err
	}
	n.text(kindGroup, groupName, groupName)
	for _, id := range append([]string{s.groupID}, s.heads...) {
		raw, err := hex.DecodeString(id)
		if err != nil {
			return nil, err
		}
		n.raw(kindGroup, id, raw)
	}
	for _, p := range s.w.people() {
		n.text(kindName, p.ens, p.name)
		n.text(kindName, p.ens, p.ens)
		hash, err := ens.NameHash(p.ens)
		if err != nil {
			return nil, err
		}
		n.raw(kindName, p.ens, hash[:])

		a := p.address()
		n.raw(kindAddress, a.String(), a[:])
		n.text(kindAddress, a.String(), strings.TrimPrefix(a.String(), "0x")) // EIP-55
		if err := s.keyNeedles(ctx, n, p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return n, nil
}

// keyNeedles adds a person's public keys and ids. They are in the record that
// the person's node gives to those who know the address.
func (s *story) keyNeedles(ctx context.Context, n *needles, p *person) error {
	id, err := peer.Decode(p.info.PeerID)
	if err != nil {
		return err
	}
	link, err := hex.DecodeString(p.info.DeviceID)
	if err != nil {
		return err
	}
	account := identity.KeyAccount(p.address())
	b, err := s.w.tap.node.FetchRecord(ctx, id, account.LookupKey())
	if err != nil {
		return err
	}
	record, err := identity.VerifyRecord(b, account, time.Now())
	if err != nil {
		return err
	}
	of := func(what string) string { return p.name + "'s " + what }
	n.text(kindKey, of("peer id"), p.info.PeerID)
	n.raw(kindKey, of("peer id"), []byte(id))
	n.raw(kindKey, of("device id"), link)
	n.raw(kindKey, of("account"), account.Bytes())
	point := func(what string, compressed []byte) {
		n.raw(kindKey, of(what), compressed)
		n.raw(kindKey, of(what), compressed[1:]) // x
	}
	bundle := record.Bundle
	point("signing key", record.Device.SigningKey.Bytes())
	point("identity key", record.Device.DHKey.Bytes())
	point("prekey", bundle.Prekey.Key[:])
	point("host key", bundle.HostKey[:])
	n.raw(kindKey, of("ML-KEM prekey"), bundle.KEMPrekey.Key[:])
	n.raw(kindKey, of("ML-KEM prekey"), bundle.KEMPrekey.Key[len(bundle.KEMPrekey.Key)-32:])
	n.raw(kindKey, of("inbox key"), bundle.InboxKey[:])
	for i, b := range bundle.KeyPackages {
		kp, err := groups.ParseKeyPackage(b)
		if err != nil {
			return err
		}
		n.raw(kindKey, of(fmt.Sprintf("key package %d", i)), kp.InitKey[1:33])
		n.raw(kindKey, of(fmt.Sprintf("leaf key %d", i)), kp.Leaf.EncryptionKey[1:33])
	}
	return nil
}

// controlSearch verifies that the search could fail: every needle is planted
// in a copy of one of the captured envelopes, at random, and must be found.
func controlSearch(hay [][]byte, all []needle) error {
	if len(hay) == 0 {
		return errors.New("the eavesdropper has captured nothing")
	}
	for _, n := range all {
		var room [][]byte
		for _, h := range hay {
			if len(h) >= len(n.bytes) {
				room = append(room, h)
			}
		}
		if len(room) == 0 {
			return fmt.Errorf("%s, %s, is longer than all that was captured", n.what, n.form)
		}
		copied := bytes.Clone(room[rand.IntN(len(room))])
		copy(copied[rand.IntN(len(copied)-len(n.bytes)+1):], n.bytes)
		if len(find([][]byte{copied}, []needle{n})) != 1 {
			return fmt.Errorf("the search does not find %s, %s, where it is", n.what, n.form)
		}
	}
	return nil
}

// checkNoise verifies that bodies have no structure that can be seen: no runs
// of equal bytes, and nothing to compress.
func checkNoise(captured []capture) error {
	var all []byte
	seen := map[[32]byte]bool{}
	for _, c := range captured {
		if h := c.env.ContentHash(); seen[h] {
			continue // a repetition is the same noise
		} else {
			seen[h] = true
		}
		run := 1
		for i := 1; i < len(c.env.Body); i++ {
			if c.env.Body[i] != c.env.Body[i-1] {
				run = 1
			} else if run++; run > maxRun {
				return fmt.Errorf("a body has %d equal bytes in a row at %d", run, i)
			}
		}
		all = append(all, c.env.Body...)
	}
	var packed bytes.Buffer
	z, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(all); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if packed.Len() < len(all) {
		return fmt.Errorf("%d bytes of bodies compress to %d", len(all), packed.Len())
	}
	return nil
}

// describe names the first few things that were found.
func describe(found []needle) string {
	var words []string
	for _, n := range found[:min(len(found), 5)] {
		words = append(words, fmt.Sprintf("%q %s", n.what, n.form))
	}
	if more := len(found) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return list(words)
}
