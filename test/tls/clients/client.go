// Dials the address given first with Go's crypto/tls defaults and offers the server name given second.
package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Println("crypto/tls of", runtime.Version())
		return
	}
	config := &tls.Config{ServerName: os.Args[2], InsecureSkipVerify: true}
	if len(os.Args) > 3 {
		config.NextProtos = strings.Split(os.Args[3], ",")
	}
	connection, err := tls.Dial("tcp", os.Args[1], config)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	connection.Close()
}
