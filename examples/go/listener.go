//go:build linux

// Package handoff is a net.Listener for the connections that an sni-handoff front door hands over. This one file is all
// there is to it: copy it. The protocol is described in sni-handoff's src/handoff/PROTOCOL.md.
//
//	listener, err := handoff.Listen("/run/app/door.sock")
//	…
//	err = server.ServeTLS(listener, "cert.pem", "key.pem")
//
// Accepted connections are TCP connections as net.Listen's are. At the end, listener.Shutdown(ctx, server) takes the place
// of server.Shutdown(ctx): nothing that was taken is lost.
package handoff

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options of a Listener. The zero value is right for most.
type Options struct {
	// Connections that each worker of a door may have on the way at once, 1 to 128. Default 128.
	Window int
	// Share of the backend's connections relative to its other instances, 1 to 65535. Default 1.
	Weight int
	// Connections open at once; more are refused, and go to another instance or wait in the door. Default: no limit.
	MaxConnections int
	// Permission bits of the socket. Default 0660. The door needs write permission.
	Mode fs.FileMode
	// Group of the socket, by name or number: the door's. Default: the process's own.
	Group string
	// Uids whose processes may be doors, by SO_PEERCRED. Default: whoever may write to the socket.
	AllowedUsers []uint32
	// How long Close waits for doors to close their channels. Default 10 s.
	DrainTimeout time.Duration
	// Use the socket that the service manager passed under this name (FileDescriptorName=). Without it, a passed socket
	// that is bound to the path is used.
	FDName string
	// Told of doors that break the protocol or may not connect, once each. Default log.Printf.
	Logf func(format string, args ...any)
}

// Handoff is what the door tells about a connection.
type Handoff struct {
	// ServerName of the client's hello, lower case, and the first protocol of its ALPN list; empty if it sent none.
	ServerName, ALPN string
	// ConnectionID names the connection in the door's log.
	ConnectionID uint64
	// AcceptedAt is when the door accepted it.
	AcceptedAt time.Time
	// Flags: 1 its first bytes are a TLS ClientHello, 2 with an encrypted one in it, 16 an HTTP/1 request.
	Flags uint32
	// Client and Server are the addresses that a PROXY header told; not valid without one.
	Client, Server netip.AddrPort
}

// Of returns what the door told about a connection from Accept, or TLS over one.
func Of(conn net.Conn) (handoff Handoff, ok bool) {
	for {
		switch c := conn.(type) {
		case *Conn:
			return c.handoff, true
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return Handoff{}, false
		}
	}
}

// Conn is a TCP connection that a door accepted.
type Conn struct {
	*net.TCPConn
	handoff  Handoff
	listener *Listener
	closing  sync.Once
}

// RemoteAddr is the client's address, also behind a load balancer whose PROXY header told it to the door.
func (c *Conn) RemoteAddr() net.Addr {
	if c.handoff.Client.IsValid() {
		return net.TCPAddrFromAddrPort(c.handoff.Client)
	}
	return c.TCPConn.RemoteAddr()
}

// Close closes the connection.
func (c *Conn) Close() error {
	err := c.TCPConn.Close()
	c.closing.Do(func() { c.listener.release(1, 0) })
	return err
}

// --- the listener ----------------------------------------------------------------------------------------------------

const (
	maxWindow  = 128
	maxMessage = 1024
	// Connections that wait for Accept, as in a listen(2) backlog.
	maxWaiting = 4096
	// How often doors learn how many connections are open, and how soon that there is room again.
	countInterval = 250 * time.Millisecond
	roomInterval  = 20 * time.Millisecond
	// A door has a channel for each of its workers: more of one process would be there to take all descriptors.
	maxChannels = 256
	maxLogged   = 100
)

// Listener takes connections from doors. It listens on a unix socket, and each worker of a door connects a channel.
type Listener struct {
	path    string
	options Options
	socket  *net.UnixListener
	unbind  func()

	mu       sync.Mutex
	arrival  *sync.Cond
	queue    []unsettled
	open     int // connections that are not closed, with those that wait for Accept, or for being acknowledged
	waiting  int // of them, those that wait
	channels map[*channel]bool
	closing  bool          // Close was called: no more channels
	closed   bool          // and doors were told
	ended    chan struct{} // closed when no channel is left after Close
	logged   map[string]bool

	counted chan struct{} // `open` has changed
	roomy   chan struct{} // a door that was told there is no room may be told of some
	resting int32         // channels whose doors were told so; atomic
}

// Listen makes a socket at path with the default options. A path that ends in "/", or is a folder, is one in which this
// process makes a socket of its own, so that several serve one backend. "@name" is an abstract address.
func Listen(path string) (*Listener, error) {
	return Options{}.Listen(path)
}

// Listen makes a socket at path, or takes the one that the service manager passed (LISTEN_FDS).
func (o Options) Listen(path string) (*Listener, error) {
	err := o.complete()
	if err != nil {
		return nil, err
	}
	socket, path, unbind, err := claim(path, o)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		path: path, options: o, socket: socket, unbind: unbind,
		channels: map[*channel]bool{}, logged: map[string]bool{}, ended: make(chan struct{}),
		counted: make(chan struct{}, 1), roomy: make(chan struct{}, 1),
	}
	l.arrival = sync.NewCond(&l.mu)
	go l.acceptChannels()
	go l.report()
	return l, nil
}

func (o *Options) complete() error {
	for _, option := range []struct {
		name           string
		value          *int
		fallback, most int
	}{{"Window", &o.Window, maxWindow, maxWindow}, {"Weight", &o.Weight, 1, 65535}, {"MaxConnections", &o.MaxConnections, 1<<31 - 1, 1<<31 - 1}} {
		if *option.value == 0 {
			*option.value = option.fallback
		}
		if *option.value < 1 || *option.value > option.most {
			return fmt.Errorf("handoff: %s is %d; 1 to %d are allowed", option.name, *option.value, option.most)
		}
	}
	if o.Mode == 0 {
		o.Mode = 0o660
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 10 * time.Second
	}
	if o.Logf == nil {
		o.Logf = log.Printf
	}
	return nil
}

// Accept waits for the next connection. After Close it goes on with what doors have on the way, until they have closed
// their channels; then it fails with net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		next, ok := l.next()
		if !ok {
			return nil, &net.OpError{Op: "accept", Net: "unixpacket", Addr: l.Addr(), Err: net.ErrClosed}
		}
		conn, err := adopt(next.fd)
		if err != nil { // dead meanwhile
			l.release(1, 0)
			continue
		}
		return &Conn{TCPConn: conn, handoff: next.handoff, listener: l}, nil
	}
}

func (l *Listener) next() (unsettled, bool) {
	l.mu.Lock()
	for len(l.queue) == 0 {
		select {
		case <-l.ended:
			l.mu.Unlock()
			return unsettled{}, false
		default:
			l.arrival.Wait()
		}
	}
	next := l.queue[0]
	l.queue[0] = unsettled{}
	l.queue = l.queue[1:]
	l.mu.Unlock()
	l.release(0, 1)
	return next, true
}

// Addr is the address of the unix socket.
func (l *Listener) Addr() net.Addr {
	return &net.UnixAddr{Name: l.path, Net: "unixpacket"}
}

// Close drains: it tells every door to send no more, and removes the socket's path. It does not wait; Accept does.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	l.mu.Unlock()
	// First, so that doors find the successor there.
	l.unbind()
	err := l.socket.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.channels {
		go c.drain()
	}
	time.AfterFunc(l.options.DrainTimeout, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for c := range l.channels {
			c.conn.Close()
		}
	})
	l.closed = true
	l.endIfDrained()
	return err
}

// Shutdown ends an http.Server without losing a client. The server's own Shutdown, called first, would drop connections
// whose request it has not read yet: so the doors are told to send no more, what they have on the way is served, and then
// the server is shut down. Serve returns net.ErrClosed, or http.ErrServerClosed.
func (l *Listener) Shutdown(ctx context.Context, server interface {
	SetKeepAlivesEnabled(bool)
	Shutdown(context.Context) error
}) error {
	l.Close()
	select {
	case <-l.ended:
	case <-ctx.Done():
	}
	server.SetKeepAlivesEnabled(false)
	// For so long http.Server, too, takes a connection without a request for one that will have one.
	unused := time.Now().Add(5 * time.Second)
	for ctx.Err() == nil && time.Now().Before(unused) {
		if open, _ := l.state(); open == 0 {
			break
		}
		time.Sleep(roomInterval)
	}
	return server.Shutdown(ctx)
}

// endIfDrained is called whenever the last channel may be gone after Close.
func (l *Listener) endIfDrained() {
	if l.closed && len(l.channels) == 0 {
		close(l.ended)
		l.arrival.Broadcast()
	}
}

// admit says whether one more connection can be taken, and reserves its place.
func (l *Listener) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.options.MaxConnections || l.waiting >= maxWaiting {
		return false
	}
	l.open++
	l.waiting++
	return true
}

// release gives places back.
func (l *Listener) release(open, waiting int) {
	l.mu.Lock()
	l.open -= open
	l.waiting -= waiting
	l.mu.Unlock()
	if open > 0 {
		signal(l.counted)
	}
	if atomic.LoadInt32(&l.resting) > 0 {
		signal(l.roomy)
	}
}

// own queues connections that were acknowledged.
func (l *Listener) own(connections []unsettled) {
	l.mu.Lock()
	l.queue = append(l.queue, connections...)
	l.mu.Unlock()
	l.arrival.Broadcast()
	signal(l.counted)
}

// state returns how many connections are open, and for how many more there is room.
func (l *Listener) state() (open, room int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room = l.options.MaxConnections - l.open
	if free := maxWaiting - l.waiting; free < room {
		room = free
	}
	if room < 0 {
		room = 0
	}
	return l.open, room
}

// report tells doors what has changed. Nothing runs while nothing does.
func (l *Listener) report() {
	for {
		select {
		case <-l.ended:
			return
		case <-l.roomy:
			time.Sleep(roomInterval)
		case <-l.counted:
			select {
			case <-l.roomy:
				time.Sleep(roomInterval)
			case <-time.After(countInterval):
			}
		}
		l.mu.Lock()
		channels := make([]*channel, 0, len(l.channels))
		for c := range l.channels {
			channels = append(channels, c)
		}
		l.mu.Unlock()
		for _, c := range channels {
			c.report()
		}
	}
}

func (l *Listener) acceptChannels() {
	for {
		conn, err := l.socket.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // for want of descriptors, most likely
			l.logOnce("accept", "cannot accept channels on %s: %v", l.path, err)
			time.Sleep(time.Second)
			continue
		}
		l.admitChannel(conn)
	}
}

// SO_PASSCRED, SO_PASSSEC and SO_PASSPIDFD: a channel inherits them from a service manager's socket (PassCredentials= and
// its kin), and what they add to each message would leave no room for its descriptor.
var passing = [...]int{16, 34, 76}

func (l *Listener) admitChannel(conn *net.UnixConn) {
	c := &channel{listener: l, conn: conn, control: make([]byte, syscall.CmsgSpace(8*4))}
	c.raw, _ = conn.SyscallConn()
	var err error
	c.raw.Control(func(fd uintptr) {
		c.door, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		for _, option := range passing {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, 0)
		}
	})
	if err != nil {
		conn.Close()
		return
	}
	if !l.allows(c.door.Uid) {
		l.logOnce(fmt.Sprint("user", c.door.Uid), "%s may not be a door at %s: not one of AllowedUsers", c.doorName(), l.path)
		err = syscall.EPERM
	}
	l.mu.Lock()
	isFlood := l.channelsOf(c.door.Pid) >= maxChannels
	isAdmitted := err == nil && !l.closing && !isFlood
	if isAdmitted {
		l.channels[c] = true
		go c.run()
	}
	l.mu.Unlock()
	if !isAdmitted {
		conn.Close()
	}
	if isFlood {
		l.logOnce(fmt.Sprint("flood", c.door.Pid), "%s has %d channels open at %s, more than any door needs: another was refused", c.doorName(), maxChannels, l.path)
	}
}

func (l *Listener) channelsOf(pid int32) (count int) {
	for c := range l.channels {
		if c.door.Pid == pid {
			count++
		}
	}
	return count
}

func (l *Listener) allows(uid uint32) bool {
	for _, allowed := range l.options.AllowedUsers {
		if allowed == uid {
			return true
		}
	}
	return len(l.options.AllowedUsers) == 0
}

// logOnce writes what has this cause only once.
func (l *Listener) logOnce(cause, format string, args ...any) {
	l.mu.Lock()
	isNew := !l.logged[cause] && len(l.logged) < maxLogged
	if isNew {
		l.logged[cause] = true
	}
	l.mu.Unlock()
	if isNew {
		l.options.Logf("sni-handoff: "+format, args...)
	}
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// --- a channel from a door -------------------------------------------------------------------------------------------

// What becomes of a HANDOFF: values above 0 are reasons of REFUSE.
const (
	bury         = -1 // dead: acknowledged and closed, or every instance would refuse it
	take         = 0
	noDescriptor = 1
	notTCP       = 2
	overloaded   = 3
)

// unsettled is a HANDOFF that is neither acknowledged nor refused yet.
type unsettled struct {
	sequence uint32
	fd       int // -1 if none came
	verdict  int
	handoff  Handoff
}

type channel struct {
	listener *Listener
	conn     *net.UnixConn
	raw      syscall.RawConn
	door     *syscall.Ucred

	// Of the goroutine that reads.
	pending []unsettled
	last    *uint32 // sequence of the last HANDOFF
	bytes   [maxMessage]byte
	control []byte

	mu       sync.Mutex // who writes has it
	broken   bool       // the door reads no more: whose the pending ones are is known at the end
	offered  int        // window of the last READY; 0 before the first
	resting  bool       // READY is due when there is room
	reported int        // connections that the door was told are open
	acked    *uint32
	draining bool
}

type ending int

const (
	goesOn  ending = iota
	atEnd          // the door is gone: nobody else has what it left here
	revoked        // what is not acknowledged is somebody else's
	broke          // a violation, or closed from this side
)

func (c *channel) run() {
	c.mu.Lock()
	c.rest(true)
	c.mu.Unlock()
	c.report()
	end := goesOn
	for end == goesOn {
		var err error
		end, err = c.receive()
		if err != nil {
			c.complain(err)
		}
		if end == goesOn {
			c.settle()
		}
	}
	if end == atEnd {
		c.own(c.pending)
	} else {
		c.discard(c.pending)
	}
	c.mu.Lock()
	c.rest(false)
	c.draining = true // nothing is reported any more
	c.mu.Unlock()
	c.conn.Close()
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.channels, c)
	l.endIfDrained()
}

// receive waits for messages, and takes in all that are there, up to a window.
func (c *channel) receive() (end ending, err error) {
	failure := c.raw.Read(func(fd uintptr) bool {
		for i := 0; i < maxWindow; i++ {
			end, err = c.receiveOne(int(fd))
			if err == syscall.EAGAIN {
				err = nil
				return i > 0
			}
			if end != goesOn {
				return true
			}
		}
		return true
	})
	if failure != nil {
		return broke, nil
	}
	return end, err
}

func (c *channel) receiveOne(fd int) (ending, error) {
	var length, controlLength, flags int
	var err error
	for try := 0; try < 9; try++ {
		length, controlLength, flags, _, err = syscall.Recvmsg(fd, c.bytes[:], c.control, syscall.MSG_DONTWAIT|syscall.MSG_CMSG_CLOEXEC)
		// ECONNRESET comes before messages that are still queued.
		if err != syscall.EINTR && err != syscall.ECONNRESET && err != syscall.EPIPE {
			break
		}
	}
	if err == syscall.EAGAIN {
		return goesOn, err
	}
	if err != nil {
		return broke, violation{"read", err.Error()}
	}
	fds := descriptors(c.control[:controlLength])
	if length == 0 && len(fds) == 0 && flags&syscall.MSG_CTRUNC == 0 {
		return atEnd, nil
	}
	end, err := goesOn, error(nil)
	if flags&syscall.MSG_TRUNC != 0 {
		err = wrong("a message of more than %d bytes", maxMessage)
	} else {
		end, err = c.takeIn(c.bytes[:length], &fds, flags&syscall.MSG_CTRUNC != 0)
	}
	for _, fd := range fds {
		syscall.Close(fd)
	}
	if err != nil {
		end = broke
	}
	return end, err
}

func descriptors(control []byte) (fds []int) {
	messages, _ := syscall.ParseSocketControlMessage(control)
	for i := range messages {
		more, _ := syscall.ParseUnixRights(&messages[i])
		fds = append(fds, more...)
	}
	return fds
}

// takeIn reads one message. What is left in fds is closed by the caller.
func (c *channel) takeIn(bytes []byte, fds *[]int, truncated bool) (ending, error) {
	m, err := decode(bytes)
	if err != nil {
		return broke, err
	}
	if m.kind < typeReady || m.kind > typeDrain {
		return broke, wrong("a message of unknown type %d", m.kind)
	}
	if m.kind != typeHandoff && (len(*fds) > 0 || truncated) {
		return broke, wrong("a message of type %d with a descriptor", m.kind)
	}
	switch m.kind {
	case typeHandoff:
	case typeRevoke:
		// The door's may be ahead of the last ACK (what was refused counts as settled there), never behind it.
		if c.acked != nil && int32(*c.acked-m.sequence) > 0 {
			return broke, wrong("REVOKE after %d, but %d was acknowledged", m.sequence, *c.acked)
		}
		return revoked, nil
	default:
		return broke, wrong("a message of type %d, which only instances send", m.kind)
	}
	if c.last != nil && m.sequence != *c.last+1 {
		return broke, wrong("HANDOFF %d after %d; one higher is next", m.sequence, *c.last)
	}
	if len(c.pending) >= c.listener.options.Window {
		return broke, wrong("HANDOFF %d exceeds the window of %d", m.sequence, c.listener.options.Window)
	}
	c.last = &m.sequence
	next := unsettled{sequence: m.sequence, fd: -1, verdict: noDescriptor, handoff: m.handoff}
	if len(*fds) == 1 && !truncated {
		next.fd, *fds = (*fds)[0], nil
		next.verdict = judge(next.fd)
		if next.verdict == take && !c.listener.admit() {
			next.verdict = overloaded
		}
	}
	c.pending = append(c.pending, next)
	return goesOn, nil
}

// judge tells a connected TCP socket, and one that was. States: include/net/tcp_states.h.
func judge(fd int) int {
	info, err := syscall.GetsockoptInet4Addr(fd, syscall.IPPROTO_TCP, syscall.TCP_INFO) // tcpi_state is its first byte
	if err != nil {
		return notTCP
	}
	switch info[0] {
	case 2, 10: // SYN_SENT, LISTEN
		return notTCP
	case 7: // CLOSE
		name, err := syscall.Getsockname(fd)
		if err != nil {
			return bury
		}
		if v4, ok := name.(*syscall.SockaddrInet4); ok && v4.Port == 0 {
			return notTCP // never connected
		}
		if v6, ok := name.(*syscall.SockaddrInet6); ok && v6.Port == 0 {
			return notTCP
		}
		return bury
	}
	return take
}

// settle sends what is due: all REFUSEs, then the ACK. From then on the connections are this process's.
func (c *channel) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return
	}
	taken := c.pending[:0]
	for i, next := range c.pending {
		if next.verdict <= take {
			taken = append(taken, next)
			continue
		}
		if !c.write(message(typeRefuse, next.sequence, field(fieldReason, byte(next.verdict)))) {
			c.pending = append(taken, c.pending[i:]...)
			return
		}
		if next.fd >= 0 {
			syscall.Close(next.fd)
		}
		if next.verdict == overloaded {
			c.rest(true)
			signal(c.listener.roomy)
		}
	}
	c.pending = taken
	if len(taken) == 0 {
		return
	}
	last := taken[len(taken)-1].sequence
	open, _ := c.listener.state()
	if !c.write(message(typeAck, last, field32(fieldOpen, open))) {
		return
	}
	c.acked, c.reported = &last, open
	c.own(taken)
	c.pending = nil
}

func (c *channel) own(connections []unsettled) {
	owned := make([]unsettled, 0, len(connections))
	for _, next := range connections {
		switch next.verdict {
		case take:
			owned = append(owned, next)
		case overloaded: // the door died before it could have it back
			l := c.listener
			l.mu.Lock()
			l.open++
			l.waiting++
			l.mu.Unlock()
			owned = append(owned, next)
		default:
			if next.fd >= 0 {
				syscall.Close(next.fd)
			}
		}
	}
	c.listener.own(owned)
}

func (c *channel) discard(connections []unsettled) {
	for _, next := range connections {
		if next.fd >= 0 {
			syscall.Close(next.fd)
		}
		if next.verdict == take {
			c.listener.release(1, 1)
		}
	}
}

// report tells the door that there is room (again), or else how many connections are open, if it reads just now.
func (c *channel) report() {
	if !c.mu.TryLock() {
		return // an ACK is on its way, which tells the same
	}
	defer c.mu.Unlock()
	if c.draining {
		return
	}
	open, room := c.listener.state()
	window := c.listener.options.Window
	if room < window {
		window = room
	}
	switch {
	case window > 0 && (c.resting || window > c.offered):
		if c.tryWrite(c.ready(window, open)) == nil {
			c.offered, c.reported = window, open
			c.rest(false)
		}
	case open == c.reported || c.resting:
	case c.acked != nil:
		if c.tryWrite(message(typeAck, *c.acked, field32(fieldOpen, open))) == nil {
			c.reported = open
		}
	case c.tryWrite(c.ready(c.offered, open)) == nil:
		c.reported = open
	}
	if c.resting && room > 0 { // the queue is full
		signal(c.listener.roomy)
	}
}

func (c *channel) ready(window, open int) []byte {
	weight := c.listener.options.Weight
	return message(typeReady, 0, field(fieldVersions, 1, 1), field(fieldWindow, byte(window), byte(window>>8)),
		field(fieldWeight, byte(weight), byte(weight>>8)), field32(fieldOpen, open))
}

// rest notes whether the door waits for READY.
func (c *channel) rest(resting bool) {
	if c.resting == resting {
		return
	}
	c.resting = resting
	if resting {
		atomic.AddInt32(&c.listener.resting, 1)
	} else {
		atomic.AddInt32(&c.listener.resting, -1)
	}
}

func (c *channel) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.rest(false)
	c.write(message(typeDrain, 0))
}

// write waits for room in the channel's queue. It returns false if the door reads no more: then all that it sent is to be
// read before anything is decided.
func (c *channel) write(bytes []byte) bool {
	for !c.broken {
		var err error
		closed := c.raw.Write(func(fd uintptr) bool {
			err = send(fd, bytes)
			return err != syscall.EAGAIN
		})
		switch {
		case closed != nil, err == syscall.EPIPE, err == syscall.ECONNRESET, err == syscall.ENOTCONN:
			c.broken = true
		case err == nil:
			return true
		default: // short of memory: there is no event to wait for
			time.Sleep(roomInterval)
		}
	}
	return false
}

func (c *channel) tryWrite(bytes []byte) (err error) {
	closed := c.raw.Write(func(fd uintptr) bool {
		err = send(fd, bytes)
		return true
	})
	if closed != nil {
		return closed
	}
	return err
}

func send(fd uintptr, bytes []byte) error {
	for {
		err := syscall.Sendmsg(int(fd), bytes, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		if err != syscall.EINTR {
			return err
		}
	}
}

func (c *channel) doorName() string {
	if c.door.Pid == 0 {
		return fmt.Sprintf("a process of another pid namespace of user %d", c.door.Uid)
	}
	return fmt.Sprintf("process %d of user %d", c.door.Pid, c.door.Uid)
}

func (c *channel) complain(err error) {
	cause := err.Error()
	if v, ok := err.(violation); ok {
		cause = v.cause
	}
	key := fmt.Sprint(cause, c.door.Pid, c.door.Uid)
	c.listener.logOnce(key, "protocol violation by the door, %s: %v; its channel is closed", c.doorName(), err)
}

// --- messages --------------------------------------------------------------------------------------------------------

const (
	typeReady   = 1
	typeHandoff = 2
	typeAck     = 3
	typeRefuse  = 4
	typeRevoke  = 5
	typeDrain   = 6
)

const (
	fieldVersions      = 1
	fieldWindow        = 2
	fieldWeight        = 3
	fieldConnectionID  = 4
	fieldAcceptedAt    = 5
	fieldHelloDeadline = 6
	fieldFlags         = 7
	fieldServerName    = 8
	fieldALPN          = 9
	fieldClientAddress = 10
	fieldOpen          = 11
	fieldReason        = 12
	fieldConsumed      = 13
	fieldServerAddress = 14
)

// A violation of the protocol: what kind, and with this message's values.
type violation struct{ cause, text string }

func (v violation) Error() string { return v.text }

func wrong(format string, args ...any) error {
	return violation{format, fmt.Sprintf(format, args...)}
}

func message(kind byte, sequence uint32, fields ...[]byte) []byte {
	bytes := []byte{1, kind, 0, 0, 0, 0, 0, 0}
	for _, each := range fields {
		bytes = append(bytes, each...)
	}
	binary.LittleEndian.PutUint16(bytes[2:], uint16(len(bytes)))
	binary.LittleEndian.PutUint32(bytes[4:], sequence)
	return bytes
}

func field(kind byte, value ...byte) []byte {
	return append([]byte{kind, 0, byte(len(value)), 0}, value...)
}

func field32(kind byte, value int) []byte {
	return field(kind, byte(value), byte(value>>8), byte(value>>16), byte(value>>24))
}

type decoded struct {
	kind     byte
	sequence uint32
	handoff  Handoff
}

// decode reads a message, whatever may come from a door: see PROTOCOL.md, "Messages".
func decode(bytes []byte) (m decoded, err error) {
	if len(bytes) < 8 {
		return m, wrong("a message of %d bytes, shorter than its header of 8", len(bytes))
	}
	if bytes[0] != 1 {
		return m, wrong("version %d; version 1 was agreed", bytes[0])
	}
	if stated := int(binary.LittleEndian.Uint16(bytes[2:])); stated != len(bytes) {
		return m, wrong("a message that states %d bytes and has %d", stated, len(bytes))
	}
	m.kind, m.sequence = bytes[1], binary.LittleEndian.Uint32(bytes[4:])
	var present uint32
	for rest := bytes[8:]; len(rest) > 0; {
		if len(rest) < 4 {
			return m, wrong("a field that overruns its message")
		}
		kind, size := binary.LittleEndian.Uint16(rest), int(binary.LittleEndian.Uint16(rest[2:]))
		rest = rest[4:]
		if size > len(rest) {
			return m, wrong("field %d, which overruns its message", kind)
		}
		value := rest[:size]
		rest = rest[size:]
		if kind == 0 || kind > fieldServerAddress {
			continue // unknown ones are ignored
		}
		if present&(1<<kind) != 0 {
			return m, wrong("field %d twice", kind)
		}
		present |= 1 << kind
		if !m.handoff.read(kind, value) {
			return m, wrong("field %d of %d bytes", kind, size)
		}
	}
	needed := uint32(1<<fieldConnectionID | 1<<fieldAcceptedAt | 1<<fieldFlags)
	if m.kind == typeHandoff && present&needed != needed {
		return m, wrong("HANDOFF without CONNECTION_ID, ACCEPTED_AT or FLAGS")
	}
	return m, nil
}

// read returns false if the value has a wrong size.
func (h *Handoff) read(kind uint16, value []byte) bool {
	size := len(value)
	switch kind {
	case fieldConnectionID:
		if size == 8 {
			h.ConnectionID = binary.LittleEndian.Uint64(value)
		}
		return size == 8
	case fieldAcceptedAt:
		if size == 8 {
			h.AcceptedAt = time.Unix(0, int64(binary.LittleEndian.Uint64(value)))
		}
		return size == 8
	case fieldHelloDeadline:
		return size == 8
	case fieldFlags:
		if size == 4 {
			h.Flags = binary.LittleEndian.Uint32(value)
		}
		return size == 4
	case fieldServerName:
		h.ServerName = string(value)
		return size >= 1 && size <= 255
	case fieldALPN:
		h.ALPN = string(value)
		return size >= 1 && size <= 255
	case fieldClientAddress:
		h.Client = address(value)
		return h.Client.IsValid()
	case fieldServerAddress:
		h.Server = address(value)
		return h.Server.IsValid()
	case fieldConsumed, fieldOpen:
		return size == 4
	case fieldReason:
		return size == 1
	default: // VERSIONS, WINDOW, WEIGHT
		return size == 2
	}
}

func address(value []byte) netip.AddrPort {
	if len(value) < 2 {
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(value[2:])
	if !ip.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, binary.LittleEndian.Uint16(value))
}

// --- descriptors -----------------------------------------------------------------------------------------------------

// spare is a descriptor in reserve: net.FileConn needs a second one for a moment, and what is acknowledged must be served.
var spare struct {
	sync.Mutex
	file *os.File
}

// adopt makes a connection of a descriptor, which it takes over.
func adopt(fd int) (*net.TCPConn, error) {
	file := os.NewFile(uintptr(fd), "handoff")
	defer file.Close()
	conn, err := net.FileConn(file)
	for errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		spare.Lock()
		spare.file.Close()
		conn, err = net.FileConn(file)
		if err == nil {
			file.Close()
		}
		spare.file, _ = os.Open("/")
		spare.Unlock()
		if err != nil {
			time.Sleep(roomInterval)
		}
	}
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok || tcp.RemoteAddr() == nil {
		conn.Close()
		return nil, syscall.ENOTCONN
	}
	// As net.ListenConfig has it.
	tcp.SetKeepAlive(true)
	tcp.SetKeepAlivePeriod(15 * time.Second)
	return tcp, nil
}

// --- the path --------------------------------------------------------------------------------------------------------

// sun_path of unix(7) has 108 bytes, one of them for the NUL.
const maxPath = 107

// What this file calls its own sockets in a folder. Only these are removed there when they are stale.
var ownSocket = regexp.MustCompile(`^[0-9]+-[0-9a-f]+\.sock$`)

// claim returns a listening socket, its path, and what removes the path.
func claim(path string, o Options) (socket *net.UnixListener, at string, unbind func(), err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("handoff: cannot listen on %s: %w", path, err)
		}
	}()
	spare.Lock()
	if spare.file == nil {
		spare.file, err = os.Open("/")
	}
	spare.Unlock()
	if err != nil {
		return nil, "", nil, err
	}
	if path == "" && o.FDName == "" {
		return nil, "", nil, errors.New("the path is empty")
	}
	if socket, at, err = passed(path, o.FDName); socket != nil || err != nil {
		return socket, at, func() {}, err
	}
	if strings.HasPrefix(path, "@") {
		socket, err = bind(path, o)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = inUse(path)
		}
		return socket, path, func() {}, err
	}
	return claimFile(path, o)
}

func claimFile(path string, o Options) (*net.UnixListener, string, func(), error) {
	at := path
	folder := filepath.Dir(path)
	status, err := os.Stat(path)
	inFolder := strings.HasSuffix(path, "/") || err == nil && status.IsDir()
	if inFolder {
		var random [4]byte
		if _, err := rand.Read(random[:]); err != nil {
			return nil, "", nil, err
		}
		folder = path
		at = filepath.Join(path, fmt.Sprintf("%d-%x.sock", os.Getpid(), random))
	}
	if len(at) > maxPath {
		return nil, "", nil, fmt.Errorf("%s has %d bytes; %d are allowed", at, len(at), maxPath)
	}
	unlock, err := lock(folder)
	if err != nil {
		return nil, "", nil, err
	}
	defer unlock()
	if inFolder {
		removeStale(folder)
	}
	socket, err := bind(at, o)
	for try := 0; errors.Is(err, syscall.EADDRINUSE) && try < 3; try++ {
		if err = inUse(at); err == nil {
			socket, err = bind(at, o)
		}
	}
	if err != nil {
		return nil, "", nil, err
	}
	bound, err := os.Lstat(at)
	if err != nil {
		socket.Close()
		return nil, "", nil, err
	}
	unbind := func() {
		if unlock, err := lock(folder); err == nil {
			defer unlock()
		}
		// The inode is not another's while its socket is open.
		if there, err := os.Lstat(at); err == nil && os.SameFile(there, bound) {
			os.Remove(at)
		}
	}
	return socket, at, unbind, nil
}

// lock makes sure that nobody else is between bind and listen in the folder now.
func lock(folder string) (unlock func(), err error) {
	file, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if err != syscall.EINTR && time.Since(begun) > 2*time.Second {
			file.Close()
			return nil, fmt.Errorf("another process has kept its folder %s locked (flock) for 2 s: %w", folder, err)
		}
	}
}

func bind(path string, o Options) (*net.UnixListener, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	isFile := !strings.HasPrefix(path, "@")
	syscall.Fchmod(fd, uint32(o.Mode.Perm())) // bind(2) takes it over, less the umask
	if err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if isFile {
		err = permit(path, o)
	}
	if err == nil {
		err = os.NewSyscallError("listen", syscall.Listen(fd, 511))
	}
	var listener net.Listener
	if err == nil {
		listener, err = net.FileListener(file)
	}
	if err != nil {
		if isFile {
			os.Remove(path)
		}
		return nil, err
	}
	return listener.(*net.UnixListener), nil
}

func permit(path string, o Options) error {
	if o.Group != "" {
		gid, err := strconv.Atoi(o.Group)
		if err != nil {
			group, err := user.LookupGroup(o.Group)
			if err != nil {
				return err
			}
			gid, _ = strconv.Atoi(group.Gid)
		}
		if err := os.Lchown(path, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, o.Mode.Perm())
}

// inUse looks who has a path. It removes a socket that nobody listens on any more, and returns nil.
func inUse(path string) error {
	isFile := !strings.HasPrefix(path, "@")
	if isFile {
		status, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && status.Mode()&fs.ModeSocket == 0 {
			return errors.New("it exists and is no socket; remove it or choose another path")
		}
	}
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		switch {
		case errors.Is(err, syscall.ECONNREFUSED) && isFile:
			return os.Remove(path)
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
			return nil
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EPROTOTYPE): // a full backlog, another type
			return errors.New("it is in use by a living process; stop it, or choose another path")
		}
		return err
	}
	defer conn.Close()
	owner := "a living process"
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
			if err == nil && peer.Pid != 0 {
				owner = fmt.Sprint("process ", peer.Pid)
			} else if err == nil { // unix(7) has no number for it
				owner = "a process of another pid namespace"
			}
		})
	}
	return fmt.Errorf("it is in use by %s; stop it, choose another path, or use a folder for several processes", owner)
}

// removeStale removes sockets that earlier processes left in a folder.
func removeStale(folder string) {
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		if entry.Type() == fs.ModeSocket && ownSocket.MatchString(entry.Name()) {
			inUse(filepath.Join(folder, entry.Name()))
		}
	}
}

// passed finds a socket that the service manager passed: sd_listen_fds(3).
func passed(path, name string) (*net.UnixListener, string, error) {
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || count < 1 {
		if path == "" {
			return nil, "", fmt.Errorf("no socket named %q was passed (LISTEN_FDS), and there is no path to bind instead", name)
		}
		return nil, "", nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if absolute, err := filepath.Abs(path); err == nil && !strings.HasPrefix(path, "@") {
		path = absolute
	}
	for i := 0; i < count; i++ {
		fd := 3 + i
		if name != "" && (i >= len(names) || names[i] != name) {
			continue
		}
		bound, err := syscall.Getsockname(fd)
		unix, ok := bound.(*syscall.SockaddrUnix)
		if name == "" && (err != nil || !ok || filepath.Clean(unix.Name) != path) {
			continue
		}
		kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
		listens, _ := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
		if err != nil || !ok || kind != syscall.SOCK_SEQPACKET || listens == 0 {
			return nil, "", fmt.Errorf("the passed descriptor %d is no listening SEQPACKET socket: ListenSequentialPacket= in the .socket unit", fd)
		}
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), unix.Name)
		listener, err := net.FileListener(file)
		if err != nil {
			return nil, "", err
		}
		file.Close()
		return listener.(*net.UnixListener), unix.Name, nil
	}
	if name != "" {
		return nil, "", fmt.Errorf("no passed descriptor is named %q (FileDescriptorName= in the .socket unit)", name)
	}
	return nil, "", nil
}
