package main

import (
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	safeservice "github.com/parley-im/parley/apps/safe/service"
)

func (a *app) safeServeCommand(f *safeFlags) *cobra.Command {
	at, every := "127.0.0.1:8777", 12*time.Second
	var origins []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Offer the group to tools that know the Safe Transaction Service",
		Long: `Serve answers, on this machine alone, what tools ask the Safe Transaction Service:
give them http://127.0.0.1:8777/api as its URL. What they propose and sign goes to
the group. /api/openapi.json says what is offered. The group follows the owners
meanwhile, as with "safe watch".`,
		Example: `  parley safe serve
  parley safe serve --at 127.0.0.1:0 --json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&at, "at", at, "loopback address and port")
	cmd.Flags().DurationVar(&every, "every", every, "how often to look at the chain")
	cmd.Flags().StringArrayVar(&origins, "origin", nil, "web page that may use it, such as https://app.example, repeatable")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < time.Second {
			return usagef("--every is at least 1s")
		}
		ctx := cmd.Context()
		s, err := a.enter(ctx, f)
		if err != nil {
			return err
		}
		defer s.Close()
		handler, err := safeservice.New([]safeservice.Room{s.Room}, safeservice.Options{Version: version(), Origins: origins, Logger: a.logger()})
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			return usagef("--at %s: %v", at, err)
		}
		url := fmt.Sprintf("http://%s/api", l.Addr())
		if err := a.print(map[string]any{"url": url, "safe": s.Account().Address, "chainId": s.Account().ChainID}, "serving "+url+"\n"); err != nil {
			return err
		}
		watched := make(chan error, 1)
		go func() {
			watched <- s.Watch(ctx, every, func() {}, func(err error) { fmt.Fprintf(a.err, "parley: %s\n", message(err)) })
		}()
		err = safeservice.Serve(ctx, l, handler)
		if ctx.Err() != nil { // interrupted, as it is meant to be
			<-watched
			return nil
		}
		return err
	}
	return cmd
}
