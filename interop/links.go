package main

import (
	"context"
	"errors"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/interop/mlsclient"
)

// reinit is a group that was closed, and the own key package for its successor.
type reinit struct {
	closed *membership
	join   *join
}

// closed prepares for the successor of the group that a commit has just closed.
func (c *client) closed(m *membership) (*mlsclient.HandleReInitCommitResponse, error) {
	r := m.group.ReInit()
	if r == nil {
		return nil, errors.New("the commit does not close the group")
	}
	s, err := suite.ByID(r.Suite)
	if err != nil {
		return nil, err
	}
	own, err := m.credential()
	if err != nil {
		return nil, err
	}
	j, err := newJoin(s, own)
	if err != nil {
		return nil, err
	}
	return &mlsclient.HandleReInitCommitResponse{
		ReinitId:           put(c, c.reinits, &reinit{m, j}),
		KeyPackage:         j.kp.Marshal(),
		EpochAuthenticator: m.group.EpochAuthenticator(),
	}, nil
}

func (c *client) ReInitCommit(ctx context.Context, req *mlsclient.CommitRequest) (*mlsclient.CommitResponse, error) {
	resp, err := c.Commit(ctx, req)
	if err != nil {
		return nil, err
	}
	if m := c.states[req.GetStateId()]; m.staged.Changes.ReInit == nil {
		m.staged = nil
		return nil, errors.New("no re-initialisation among the proposals")
	}
	return resp, nil
}

func (c *client) HandlePendingReInitCommit(_ context.Context, req *mlsclient.HandlePendingCommitRequest) (*mlsclient.HandleReInitCommitResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	if err := m.mergePending(); err != nil {
		return nil, err
	}
	return c.closed(m)
}

func (c *client) HandleReInitCommit(_ context.Context, req *mlsclient.HandleCommitRequest) (*mlsclient.HandleReInitCommitResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	if err := m.follow(req); err != nil {
		return nil, err
	}
	return c.closed(m)
}

// linked takes over a successor or branch that this member made.
func (c *client) linked(parent *membership, st *groups.Staged, tree bool) (*mlsclient.CreateSubgroupResponse, error) {
	rows := make(groups.MemoryRows)
	g, _, err := st.Merge(rows)
	if err != nil {
		return nil, err
	}
	m := newMembership(g, rows, make(externalPSKs))
	m.private = parent.private
	resp := &mlsclient.CreateSubgroupResponse{
		StateId:            put(c, c.states, m),
		Welcome:            st.Welcome,
		EpochAuthenticator: g.EpochAuthenticator(),
	}
	if tree {
		resp.RatchetTree = g.RatchetTree()
	}
	return resp, nil
}

func keyPackages(list [][]byte) ([]*groups.KeyPackage, error) {
	out := make([]*groups.KeyPackage, len(list))
	for i, msg := range list {
		var err error
		if out[i], err = groups.ParseKeyPackage(msg); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *client) ReInitWelcome(_ context.Context, req *mlsclient.ReInitWelcomeRequest) (*mlsclient.CreateSubgroupResponse, error) {
	r, err := get(c.reinits, req.GetReinitId(), "reinit")
	if err != nil {
		return nil, err
	}
	members, err := keyPackages(req.GetKeyPackage())
	if err != nil {
		return nil, err
	}
	st, err := r.closed.group.Reinitialize(groups.LinkOptions{
		Members: members, Credential: r.join.kp.Leaf.Credential, Signer: r.join.signer,
		NoPath: !req.GetForcePath(), OmitTree: req.GetExternalTree(),
		Now: time.Now(), AnyLifetime: true,
	})
	if err != nil {
		return nil, err
	}
	delete(c.reinits, req.GetReinitId())
	return c.linked(r.closed, st, req.GetExternalTree())
}

func (c *client) HandleReInitWelcome(_ context.Context, req *mlsclient.HandleReInitWelcomeRequest) (*mlsclient.JoinGroupResponse, error) {
	r, err := get(c.reinits, req.GetReinitId(), "reinit")
	if err != nil {
		return nil, err
	}
	m, err := r.join.enter(req.GetWelcome(), req.GetRatchetTree(), r.closed.group)
	if err != nil {
		return nil, err
	}
	m.private = r.closed.private
	delete(c.reinits, req.GetReinitId())
	return &mlsclient.JoinGroupResponse{StateId: put(c, c.states, m), EpochAuthenticator: m.group.EpochAuthenticator()}, nil
}

func (c *client) CreateBranch(_ context.Context, req *mlsclient.CreateBranchRequest) (*mlsclient.CreateSubgroupResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	members, err := keyPackages(req.GetKeyPackages())
	if err != nil {
		return nil, err
	}
	e, err := extensions(req.GetExtensions())
	if err != nil {
		return nil, err
	}
	own, err := m.credential()
	if err != nil {
		return nil, err
	}
	s, err := suite.ByID(m.group.Suite())
	if err != nil {
		return nil, err
	}
	signer, err := s.GenerateSigningKey()
	if err != nil {
		return nil, err
	}
	st, err := m.group.Branch(req.GetGroupId(), e, groups.LinkOptions{
		Members: members, Credential: own, Signer: signer,
		NoPath: !req.GetForcePath(), OmitTree: req.GetExternalTree(),
		Now: time.Now(), AnyLifetime: true,
	})
	if err != nil {
		return nil, err
	}
	return c.linked(m, st, req.GetExternalTree())
}

func (c *client) HandleBranch(_ context.Context, req *mlsclient.HandleBranchRequest) (*mlsclient.HandleBranchResponse, error) {
	parent, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	j, err := get(c.joins, req.GetTransactionId(), "transaction")
	if err != nil {
		return nil, err
	}
	m, err := j.enter(req.GetWelcome(), req.GetRatchetTree(), parent.group)
	if err != nil {
		return nil, err
	}
	m.private = parent.private
	delete(c.joins, req.GetTransactionId())
	return &mlsclient.HandleBranchResponse{StateId: put(c, c.states, m), EpochAuthenticator: m.group.EpochAuthenticator()}, nil
}
