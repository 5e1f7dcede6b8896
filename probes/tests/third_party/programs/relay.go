// Passes one connection on to another server, or serves the files of a directory over HTTP.
//
// Both use nothing but the standard library: io.Copy between two TCP connections splices, and
// net/http sends files by sendfile(2). The listener is that of a server that names no address: a
// socket of IPv6, at which clients of IPv4 arrive as mapped addresses.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pass copies one direction of a connection to its end.
func pass(to, from *net.TCPConn) int64 {
	count, err := io.Copy(to, from)
	check(err)
	check(to.CloseWrite())
	return count
}

func relay(listener *net.TCPListener, server string) {
	client, err := listener.AcceptTCP()
	check(err)
	other, err := net.Dial("tcp", server)
	check(err)
	requests := make(chan int64)
	go func() { requests <- pass(other.(*net.TCPConn), client) }()
	responses := pass(client, other.(*net.TCPConn))
	fmt.Println(<-requests, responses)
	client.Close()
	other.Close()
}

func main() {
	listener, err := net.Listen("tcp", "[::]:"+os.Args[2])
	check(err)
	if os.Args[1] == "serve" {
		check(http.Serve(listener, http.FileServer(http.Dir(os.Args[3]))))
	}
	relay(listener.(*net.TCPListener), os.Args[3])
}
