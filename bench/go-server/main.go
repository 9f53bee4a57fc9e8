// The Go server of the scenario tls: server CERTIFICATE KEY SOCKET. It accepts by itself on a free port, and receives from
// doors on SOCKET. "/" is answered with "hello", "/download" with a mebibyte, both ended by a line of their own.
package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"

	handoff "handoff.example/go"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: server CERTIFICATE KEY SOCKET")
		os.Exit(2)
	}
	certificate, key, socket := os.Args[1], os.Args[2], os.Args[3]
	received, err := handoff.Listen(socket)
	if err != nil {
		log.Fatal(err)
	}
	accepted, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	download := append(make([]byte, 1<<20), "\nend\n"...)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello\nend\n")
	})
	mux.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(download)))
		w.Write(download)
	})
	// Clients that leave at the end of a round are nothing to be logged.
	server := &http.Server{Handler: mux, ErrorLog: log.New(discard{}, "", 0)}
	failed := make(chan error)
	go func() { failed <- server.ServeTLS(received, certificate, key) }()
	go func() { failed <- server.ServeTLS(accepted, certificate, key) }()
	fmt.Printf("{\"ready\":true,\"address\":%q}\n", accepted.Addr().String())
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

type discard struct{}

func (discard) Write(bytes []byte) (int, error) { return len(bytes), nil }
