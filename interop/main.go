// Command interop is an MLS client for the MLS working group's
// interoperability tests: the gRPC service MLSClient over package groups.
//
//	go run . -port 50001
//
// The script run beside it plays all of the tests.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	host := flag.String("host", "localhost", "address to listen on")
	port := flag.Uint("port", 50001, "port to listen on; 0 takes a free one")
	flag.Parse()
	if err := serve(*host, *port); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// serve runs until it is interrupted.
func serve(host string, port uint) error {
	if flag.NArg() > 0 || port > 65535 {
		return errors.New("usage: interop [-host address] [-port port]")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10)))
	if err != nil {
		return err
	}
	s := newServer()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		s.Stop()
	}()
	fmt.Println("listening on", l.Addr())
	return s.Serve(l)
}
