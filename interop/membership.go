package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/interop/mlsclient"
)

// keptEpochs is how many epochs that were left can still be read.
const keptEpochs = 4

// membership is an actor's place in a group, in whatever epoch that is: its
// number stays the same from epoch to epoch.
type membership struct {
	group   *groups.Group
	rows    groups.MemoryRows
	past    []*groups.Past // the oldest first
	private bool           // proposals and commits are PrivateMessages
	staged  *groups.Staged // the own commit that waits

	psks       externalPSKs
	resumption map[uint64]secret.Key // of all epochs of the group so far
	refs       map[string][]byte     // of this epoch's proposals, by message
}

func newMembership(g *groups.Group, rows groups.MemoryRows, psks externalPSKs) *membership {
	m := &membership{rows: rows, psks: psks, resumption: make(map[uint64]secret.Key)}
	m.begin(g)
	return m
}

// begin makes g, an epoch just entered, the present one.
func (m *membership) begin(g *groups.Group) {
	m.group, m.staged = g, nil
	m.refs = make(map[string][]byte)
	m.resumption[g.Epoch()] = g.ResumptionPSK()
}

// merge moves on to the next epoch.
func (m *membership) merge(st *groups.Staged) error {
	next, past, err := st.Merge(m.rows)
	if err != nil {
		return err
	}
	if m.past = append(m.past, past); len(m.past) > keptEpochs {
		delete(m.rows, m.past[0].CID())
		m.past = m.past[1:]
	}
	m.begin(next)
	return nil
}

// psk finds the pre-shared keys that proposals name.
func (m *membership) psk(id groups.PreSharedKeyID) (secret.Key, bool) {
	if id.Type == groups.PSKResumption && bytes.Equal(id.GroupID, m.group.GroupID()) {
		k, ok := m.resumption[id.Epoch]
		return k, ok
	}
	return m.psks.source(id)
}

func (m *membership) framing() groups.Framing { return groups.Framing{Private: m.private} }

// credential is the own one.
func (m *membership) credential() (groups.Credential, error) {
	own, ok := m.group.Member(m.group.Self())
	if !ok {
		return groups.Credential{}, groups.ErrNotMember
	}
	return own.Credential, nil
}

// take processes the proposals that a commit may refer to, except those that
// are known because they are the own, or were processed before. It returns
// their references.
func (m *membership) take(proposals [][]byte) (map[string]bool, error) {
	refs := make(map[string]bool, len(proposals))
	for _, msg := range proposals {
		ref, known := m.refs[string(msg)]
		if !known {
			r, err := m.group.Process(m.rows, msg, groups.ProcessOptions{PSK: m.psk})
			if err != nil {
				return nil, err
			}
			if r.Proposal == nil {
				return nil, errors.New("not a proposal")
			}
			ref = r.Proposal.Ref
			m.refs[string(msg)] = ref
		}
		refs[string(ref)] = true
	}
	return refs, nil
}

func (c *client) Commit(_ context.Context, req *mlsclient.CommitRequest) (*mlsclient.CommitResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	refs, err := m.take(req.GetByReference())
	if err != nil {
		return nil, err
	}
	o := groups.CommitOptions{
		Choose: func(p groups.PendingProposal) bool { return refs[string(p.Ref)] },
		PSK:    m.psk, Framing: m.framing(),
		NoPath: !req.GetForcePath(), OmitTree: req.GetExternalTree(),
		Now: time.Now(), AnyLifetime: true,
	}
	for _, d := range req.GetByValue() {
		p, err := described(d, m.group)
		if err != nil {
			return nil, err
		}
		if p.Type == groups.ProposalPSK {
			o.PSKs = append(o.PSKs, p.PSK) // which gets a nonce
		} else {
			o.Proposals = append(o.Proposals, p)
		}
	}
	st, err := m.group.Prepare(m.rows, o)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(st.Changes.Dropped...); err != nil {
		return nil, fmt.Errorf("cannot be committed: %w", err)
	}
	m.staged = st
	resp := &mlsclient.CommitResponse{Commit: st.Commit, Welcome: st.Welcome}
	if req.GetExternalTree() {
		resp.RatchetTree = st.Next().RatchetTree()
	}
	return resp, nil
}

// mergePending merges the own commit.
func (m *membership) mergePending() error {
	if m.staged == nil {
		return errors.New("no commit is pending")
	}
	return m.merge(m.staged)
}

func (c *client) HandlePendingCommit(_ context.Context, req *mlsclient.HandlePendingCommitRequest) (*mlsclient.HandleCommitResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	if err := m.mergePending(); err != nil {
		return nil, err
	}
	return &mlsclient.HandleCommitResponse{StateId: req.GetStateId(), EpochAuthenticator: m.group.EpochAuthenticator()}, nil
}

// follow processes a commit with the proposals it may refer to, and merges it.
func (m *membership) follow(req *mlsclient.HandleCommitRequest) error {
	if m.staged != nil && bytes.Equal(m.staged.Commit, req.GetCommit()) {
		return m.mergePending()
	}
	if _, err := m.take(req.GetProposal()); err != nil {
		return err
	}
	r, err := m.group.Process(m.rows, req.GetCommit(), groups.ProcessOptions{PSK: m.psk})
	if err != nil {
		return err
	}
	if r.Commit == nil {
		return errors.New("not a commit")
	}
	return m.merge(r.Commit)
}

func (c *client) HandleCommit(_ context.Context, req *mlsclient.HandleCommitRequest) (*mlsclient.HandleCommitResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	if err := m.follow(req); err != nil {
		return nil, err
	}
	return &mlsclient.HandleCommitResponse{StateId: req.GetStateId(), EpochAuthenticator: m.group.EpochAuthenticator()}, nil
}

func (c *client) GroupInfo(_ context.Context, req *mlsclient.GroupInfoRequest) (*mlsclient.GroupInfoResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	resp := new(mlsclient.GroupInfoResponse)
	if req.GetExternalTree() {
		resp.RatchetTree = m.group.RatchetTree()
	}
	resp.GroupInfo, err = m.group.GroupInfo(groups.GroupInfoOptions{External: true, OmitTree: req.GetExternalTree()})
	return resp, err
}

func (c *client) StateAuth(_ context.Context, req *mlsclient.StateAuthRequest) (*mlsclient.StateAuthResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	return &mlsclient.StateAuthResponse{StateAuthSecret: m.group.EpochAuthenticator()}, nil
}

func (c *client) Export(_ context.Context, req *mlsclient.ExportRequest) (*mlsclient.ExportResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	s, err := suite.ByID(m.group.Suite())
	if err != nil {
		return nil, err
	}
	n := req.GetKeyLength()
	if n > 255*uint32(s.HashSize()) {
		return nil, fmt.Errorf("%d bytes are too many to export", n)
	}
	return &mlsclient.ExportResponse{ExportedSecret: m.group.Export(req.GetLabel(), req.GetContext(), int(n)).Bytes()}, nil
}

func (c *client) Protect(_ context.Context, req *mlsclient.ProtectRequest) (*mlsclient.ProtectResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	msg, err := m.group.ProtectPlain(m.rows, req.GetPlaintext(), groups.Framing{AuthenticatedData: req.GetAuthenticatedData()})
	if err != nil {
		return nil, err
	}
	return &mlsclient.ProtectResponse{Ciphertext: msg}, nil
}

// unprotect opens a message of this epoch or one that was left.
func (m *membership) unprotect(msg []byte) (*groups.Application, error) {
	info, err := groups.Peek(msg)
	if err != nil {
		return nil, err
	}
	for _, p := range m.past {
		if p.Epoch() == info.Epoch {
			return p.Unprotect(m.rows, msg)
		}
	}
	return m.group.Unprotect(m.rows, msg)
}

func (c *client) Unprotect(_ context.Context, req *mlsclient.UnprotectRequest) (*mlsclient.UnprotectResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	app, err := m.unprotect(req.GetCiphertext())
	if err != nil {
		return nil, err
	}
	return &mlsclient.UnprotectResponse{AuthenticatedData: app.AuthenticatedData, Plaintext: app.Plaintext}, nil
}
