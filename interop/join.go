package main

import (
	"context"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/interop/mlsclient"
	"github.com/parley-im/parley/treekem"
)

// join is a key package that waits for its Welcome.
type join struct {
	kp      *groups.KeyPackage
	private *groups.KeyPackagePrivate
	signer  suite.SigningKey
	psks    externalPSKs
}

// newJoin makes a key package with a new signature key.
func newJoin(s *suite.Suite, c groups.Credential) (*join, error) {
	signer, err := s.GenerateSigningKey()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	kp, private, err := groups.NewKeyPackage(groups.KeyPackageOptions{
		Suite: s.ID(), Credential: c, Signer: signer,
		NotBefore: now.Add(-time.Hour), // others' clocks may be behind
		NotAfter:  now.Add(24 * time.Hour),
	})
	if err != nil {
		return nil, err
	}
	return &join{kp: kp, private: private, signer: signer, psks: make(externalPSKs)}, nil
}

// enter joins by a Welcome. parent is the group that it must be linked to, or
// nil.
func (j *join) enter(welcome, tree []byte, parent *groups.Group) (*membership, error) {
	rows := make(groups.MemoryRows)
	joined, err := groups.Join(rows, welcome, groups.JoinOptions{
		KeyPackage: j.kp, Private: j.private, Signer: j.signer,
		PSK: j.psks.source, Parent: parent, Plain: true, RatchetTree: outsideTree(tree),
	})
	if err != nil {
		return nil, err
	}
	return newMembership(joined.Group, rows, j.psks), nil
}

func (c *client) CreateGroup(_ context.Context, req *mlsclient.CreateGroupRequest) (*mlsclient.CreateGroupResponse, error) {
	s, err := chosenSuite(req.GetCipherSuite())
	if err != nil {
		return nil, err
	}
	signer, err := s.GenerateSigningKey()
	if err != nil {
		return nil, err
	}
	rows := make(groups.MemoryRows)
	g, err := groups.Create(rows, groups.CreateOptions{
		Suite: s.ID(), GroupID: req.GetGroupId(), Credential: treekem.Basic(req.GetIdentity()), Signer: signer,
		Plain: true, Now: time.Now(),
	})
	if err != nil {
		return nil, err
	}
	m := newMembership(g, rows, make(externalPSKs))
	m.private = req.GetEncryptHandshake()
	return &mlsclient.CreateGroupResponse{StateId: put(c, c.states, m)}, nil
}

func (c *client) CreateKeyPackage(_ context.Context, req *mlsclient.CreateKeyPackageRequest) (*mlsclient.CreateKeyPackageResponse, error) {
	s, err := chosenSuite(req.GetCipherSuite())
	if err != nil {
		return nil, err
	}
	j, err := newJoin(s, treekem.Basic(req.GetIdentity()))
	if err != nil {
		return nil, err
	}
	return &mlsclient.CreateKeyPackageResponse{
		TransactionId:  put(c, c.joins, j),
		KeyPackage:     j.kp.Marshal(),
		InitPriv:       j.private.Init.Bytes().Bytes(),
		EncryptionPriv: j.private.Encryption.Bytes().Bytes(),
		SignaturePriv:  j.signer.Bytes().Bytes(),
	}, nil
}

func (c *client) JoinGroup(_ context.Context, req *mlsclient.JoinGroupRequest) (*mlsclient.JoinGroupResponse, error) {
	j, err := get(c.joins, req.GetTransactionId(), "transaction")
	if err != nil {
		return nil, err
	}
	m, err := j.enter(req.GetWelcome(), req.GetRatchetTree(), nil)
	if err != nil {
		return nil, err
	}
	m.private = req.GetEncryptHandshake()
	delete(c.joins, req.GetTransactionId())
	return &mlsclient.JoinGroupResponse{
		StateId:            put(c, c.states, m),
		EpochAuthenticator: m.group.EpochAuthenticator(),
	}, nil
}
