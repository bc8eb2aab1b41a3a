package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-im/parley"
)

func (a *app) upCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run the daemon: keep the profile on the network",
		Long: `Up opens the profile, joins the network and stays, until it is interrupted. It
delivers what is queued, receives what comes, and serves the other commands, and
any program, by JSON-RPC 2.0 on the unix socket parley.sock in the profile's folder.

When it is ready it prints who it is and the addresses at which other peers can
dial it, with --json as one object with "up": true.`,
		Example: `  parley up --rpc http://127.0.0.1:8545 --mdns
  parley up --listen /ip4/0.0.0.0/udp/4001/quic-v1 --bootstrap /ip4/192.0.2.7/udp/4001/quic-v1/p2p/16Uiu2…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd.Context()) },
	}
}

func (a *app) up(ctx context.Context) (err error) {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	unlock, err := a.unlockExisting(ctx, dir)
	if err != nil {
		return err
	}
	done := a.progress("Opening the profile")
	c, err := a.openClient(ctx, dir, unlock, online)
	done()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	info := func(ctx context.Context) (parley.Info, error) {
		info, err := c.Info(ctx)
		if info.Network == "" {
			info.Network = a.or(a.network, "PARLEY_NETWORK")
		}
		if info.Network == "" {
			info.Network = parley.DefaultNetwork
		}
		return withLists(info), err
	}
	s, err := serve(dir, c, info)
	if err != nil {
		return err
	}
	defer s.close()
	now, err := info(ctx)
	if err != nil {
		return err
	}
	err = a.print(struct {
		Up bool `json:"up"`
		parley.Info
		Socket string `json:"socket"`
		PID    int    `json:"pid"`
	}{true, now, s.path, os.Getpid()}, fmt.Sprintf("parley is up: %s\n  at %s\n",
		printable(parley.Peer{Address: now.Address, Name: now.Name}.String()), strings.Join(now.Addrs, "\n     ")))
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
