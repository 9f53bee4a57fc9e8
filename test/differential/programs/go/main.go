// What Go's crypto/tls finds in ClientHellos. Standard input: hellos, each after its length in four bytes, highest first.
// Standard output, a line for each: as openssl.c beside this folder says it.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
)

var (
	errMore = errors.New("more bytes are wanted")
	errSeen = errors.New("all is known")
)

// client is a connection whose peer has sent the hello and goes on later.
type client struct {
	net.Conn
	rest []byte
}

func (c *client) Read(into []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, errMore
	}
	n := copy(into, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *client) Write(bytes []byte) (int, error) { return len(bytes), nil }

func answer(hello []byte) string {
	var seen *tls.ClientHelloInfo
	config := &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			seen = info
			return nil, errSeen
		},
	}
	err := tls.Server(&client{rest: hello}, config).Handshake()
	switch {
	case seen != nil:
		return fmt.Sprintf("accepts\t%s\t%s", name(seen.ServerName), protocols(seen.SupportedProtos))
	case errors.Is(err, errMore):
		return "waits"
	default:
		return "refuses\t" + strings.ReplaceAll(err.Error(), "\n", " ")
	}
}

func name(found string) string {
	if found == "" {
		return "-"
	}
	return hex.EncodeToString([]byte(found))
}

func protocols(found []string) string {
	if len(found) == 0 {
		return "-"
	}
	var words []string
	for _, protocol := range found {
		words = append(words, hex.EncodeToString([]byte(protocol)))
	}
	return strings.Join(words, ",")
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := bufio.NewWriter(os.Stdout)
	for {
		var length uint32
		if err := binary.Read(input, binary.BigEndian, &length); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		hello := make([]byte, length)
		if _, err := io.ReadFull(input, hello); err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(output, answer(hello))
		if input.Buffered() == 0 {
			output.Flush()
		}
	}
}
