package service_test

import (
	"context"
	"log"
	"net"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/apps/safe"
	"github.com/parley-im/parley/apps/safe/service"
)

// An owner serves the room of its Safe to the tools on its machine, which take
// http://127.0.0.1:8420/api for the address of the service.
func Example() {
	serve := func(ctx context.Context, client *parley.Client, chain *safe.Chain, address common.Address) error {
		room, err := safe.Open(ctx, client, chain, address, safe.OpenOptions{})
		if err != nil {
			return err
		}
		go room.Watch(ctx, 15*time.Second, func() {}, func(err error) { log.Print(err) })
		handler, err := service.New([]service.Room{room}, service.Options{})
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", "127.0.0.1:8420")
		if err != nil {
			return err
		}
		return service.Serve(ctx, listener, handler)
	}
	_ = serve
}
