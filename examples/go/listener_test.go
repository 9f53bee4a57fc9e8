//go:build linux

package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A scripted door: it sends exactly what the test says.
type door struct {
	t    *testing.T
	conn *net.UnixConn
	next uint32
}

func connect(t *testing.T, path string) *door {
	t.Helper()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &door{t, conn, 1}
}

// read returns the next message in words: "READY 128 0", "ACK 3 1", "REFUSE 2 3", "DRAIN", "end".
func (d *door) read() string {
	d.t.Helper()
	bytes := make([]byte, 2048)
	n, err := d.conn.Read(bytes)
	if err != nil || n == 0 {
		if err == io.EOF || n == 0 && errors.Is(err, syscall.ECONNRESET) {
			return "end"
		}
		d.t.Fatalf("reading: %v", err)
	}
	fields := map[byte]int{}
	for rest := bytes[8:n]; len(rest) > 0; {
		value := 0
		for i := int(rest[2]); i > 0; i-- {
			value = value<<8 | int(rest[3+i])
		}
		fields[rest[0]] = value
		rest = rest[4+rest[2]:]
	}
	switch bytes[1] {
	case typeReady:
		return fmt.Sprint("READY ", fields[fieldWindow], " ", fields[fieldOpen])
	case typeAck:
		return fmt.Sprint("ACK ", bytes[4], " ", fields[fieldOpen])
	case typeRefuse:
		return fmt.Sprint("REFUSE ", bytes[4], " ", fields[fieldReason])
	case typeDrain:
		return "DRAIN"
	}
	return fmt.Sprint("type ", bytes[1])
}

func (d *door) expect(messages ...string) {
	d.t.Helper()
	for _, wanted := range messages {
		if got := d.read(); got != wanted {
			d.t.Fatalf("the instance sent %q instead of %q", got, wanted)
		}
	}
}

func (d *door) send(bytes []byte, files ...*os.File) {
	d.t.Helper()
	var control []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, file := range files {
			fds[i] = int(file.Fd())
		}
		control = syscall.UnixRights(fds...)
	}
	if _, _, err := d.conn.WriteMsgUnix(bytes, control, nil); err != nil {
		d.t.Fatalf("sending: %v", err)
	}
}

// handOver sends a HANDOFF under the next sequence.
func (d *door) handOver(file *os.File, fields ...[]byte) {
	d.t.Helper()
	d.send(handoffMessage(d.next, fields...), file)
	d.next++
}

// stopReading makes the instance's next ACK fail with EPIPE.
func (d *door) stopReading() {
	raw, _ := d.conn.SyscallConn()
	raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_RD) })
}

func handoffMessage(sequence uint32, fields ...[]byte) []byte {
	needed := [][]byte{
		field(fieldConnectionID, 42, 0, 0, 0, 1, 0, 0, 0),
		field(fieldAcceptedAt, 0, 0x80, 0x18, 0xc4, 0x14, 0x43, 0x0d, 0x16),
		field32(fieldFlags, 1),
	}
	return message(typeHandoff, sequence, append(needed, fields...)...)
}

// client connects over TCP: its own end, and the one that the door would hand over.
func client(t *testing.T) (*net.TCPConn, *os.File) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	own, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := accepted.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	t.Cleanup(func() { own.Close(); file.Close() })
	own.SetDeadline(time.Now().Add(20 * time.Second))
	return own.(*net.TCPConn), file
}

// logged collects what a listener logs.
type logged struct {
	sync.Mutex
	lines []string
}

func (l *logged) logf(format string, args ...any) {
	l.Lock()
	defer l.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *logged) all() []string {
	l.Lock()
	defer l.Unlock()
	return append([]string(nil), l.lines...)
}

func listen(t *testing.T, options Options) (*Listener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "door.sock")
	listener, err := options.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.Close()
		for { // to the end, so that nothing of it is open in the next test
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
	return listener, path
}

func accept(t *testing.T, listener net.Listener) net.Conn {
	t.Helper()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func openDescriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for begun := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestConnection(t *testing.T) {
	listener, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	own, file := client(t)
	d.handOver(file, field(fieldServerName, []byte("app.test")...), field(fieldALPN, []byte("h2")...), field(200, 1, 2, 3))
	conn := accept(t, listener)
	d.expect("ACK 1 1")
	file.Close()

	if got := conn.RemoteAddr().String(); got != own.LocalAddr().String() {
		t.Errorf("RemoteAddr is %s, not %s", got, own.LocalAddr())
	}
	if got := conn.LocalAddr().String(); got != own.RemoteAddr().String() {
		t.Errorf("LocalAddr is %s, not %s", got, own.RemoteAddr())
	}
	handoff, ok := Of(conn)
	if !ok || handoff.ServerName != "app.test" || handoff.ALPN != "h2" || handoff.ConnectionID != 0x10000002a || handoff.Flags != 1 ||
		!handoff.AcceptedAt.Equal(time.Unix(1589000000, 0)) {
		t.Errorf("the door told %+v", handoff)
	}
	fmt.Fprint(own, "hello")
	own.CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	conn.Close()
	conn.Close()
	if got, err := io.ReadAll(own); len(got) != 0 || err != nil {
		t.Errorf("the client read %q, %v", got, err)
	}
	d.expect("ACK 1 0") // the number of open ones has changed
}

func TestClientOfProxyHeader(t *testing.T) {
	listener, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	_, file := client(t)
	d.handOver(file, field32(fieldConsumed, 52), field(fieldClientAddress, 0x39, 0x30, 192, 0, 2, 1), field(fieldServerAddress, 0xbb, 1, 198, 51, 100, 7))
	conn := accept(t, listener)
	if got := conn.RemoteAddr().String(); got != "192.0.2.1:12345" {
		t.Errorf("RemoteAddr is %s", got)
	}
	if handoff, _ := Of(conn); handoff.Server.String() != "198.51.100.7:443" {
		t.Errorf("the server's address is %s", handoff.Server)
	}
}

func TestMaxConnections(t *testing.T) {
	listener, path := listen(t, Options{MaxConnections: 1, Weight: 7})
	d := connect(t, path)
	d.expect("READY 1 0")
	_, first := client(t)
	d.handOver(first)
	conn := accept(t, listener)
	d.expect("ACK 1 1")
	_, second := client(t)
	d.handOver(second)
	d.expect("REFUSE 2 3")
	conn.Close()
	d.expect("READY 1 0") // there is room again
	d.handOver(second)
	accept(t, listener)
	d.expect("ACK 3 1")
}

func TestDescriptorsThatAreNone(t *testing.T) {
	_, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	before := openDescriptors()
	d.send(handoffMessage(1))
	d.expect("REFUSE 1 1")
	_, file := client(t)
	d.send(handoffMessage(2), file, file)
	d.expect("REFUSE 2 1")
	regular, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	d.send(handoffMessage(3), regular)
	d.expect("REFUSE 3 2")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	listening, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	d.send(handoffMessage(4), listening)
	d.expect("REFUSE 4 2")
	file.Close()
	listening.Close()
	tcp.Close()
	regular.Close()
	until(t, "all descriptors to be closed", func() bool { return openDescriptors() <= before+1 }) // own end of client
}

func TestDescriptorLimit(t *testing.T) {
	listener, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	own, file := client(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set := func(soft uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
	}
	defer set(limit.Cur)
	// The limit leaves none, then one, which net.FileConn's copy would need too. The one in reserve is within it.
	spare.file.Close()
	spare.file, _ = os.Open("/")
	n := lowestFree(t)
	set(uint64(n))
	d.handOver(file)
	d.expect("REFUSE 1 1")
	set(uint64(n + 1))
	d.handOver(file)
	conn := accept(t, listener)
	d.expect("ACK 2 1")
	set(limit.Cur)
	fmt.Fprint(own, "x")
	var byte [1]byte
	if _, err := conn.Read(byte[:]); err != nil || byte[0] != 'x' {
		t.Errorf("read %q, %v", byte, err)
	}
}

func lowestFree(t *testing.T) int {
	t.Helper()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return int(file.Fd())
}

func TestDeadConnection(t *testing.T) {
	_, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	own, file := client(t)
	own.SetLinger(0)
	own.Close() // by RST
	until(t, "the reset", func() bool { return judge(int(file.Fd())) == bury })
	d.handOver(file)
	d.expect("ACK 1 0")
}

// A reset while it waits for Accept: it would have no RemoteAddr, which net.Listen's connections always have.
func TestDeadBeforeAccept(t *testing.T) {
	listener, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	own, dead := client(t)
	d.handOver(dead)
	d.expect("ACK 1 1")
	own.SetLinger(0)
	own.Close() // by RST
	until(t, "the reset", func() bool { return judge(int(dead.Fd())) == bury })
	own, file := client(t)
	d.handOver(file)
	if conn := accept(t, listener); conn.RemoteAddr() == nil || conn.RemoteAddr().String() != own.LocalAddr().String() {
		t.Errorf("it is of %v instead of %v", conn.RemoteAddr(), own.LocalAddr())
	}
}

func TestRevoked(t *testing.T) {
	listener, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	d.stopReading() // the ACK fails
	own, file := client(t)
	d.handOver(file)
	d.send(message(typeRevoke, 0))
	file.Close()
	if got, err := io.ReadAll(own); len(got) != 0 || err != nil { // its last descriptor was closed
		t.Errorf("the client read %q, %v", got, err)
	}
	until(t, "none to be counted", func() bool { open, _ := listener.state(); return open == 0 })
}

func TestDoorDies(t *testing.T) {
	listener, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	d.stopReading()
	own, file := client(t)
	d.handOver(file)
	d.conn.Close() // without a REVOKE: nobody else has it
	conn := accept(t, listener)
	fmt.Fprint(conn, "served")
	conn.Close()
	file.Close()
	if got, _ := io.ReadAll(own); string(got) != "served" {
		t.Errorf("the client read %q", got)
	}
}

func TestDrain(t *testing.T) {
	listener, path := listen(t, Options{})
	d := connect(t, path)
	d.expect("READY 128 0")
	listener.Close()
	d.expect("DRAIN")
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the path is still there: %v", err)
	}
	_, file := client(t)
	d.handOver(file) // it was on the way
	d.expect("ACK 1 1")
	d.conn.Close()
	accept(t, listener)
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after the end: %v", err)
	}
}

func TestDrainTimeout(t *testing.T) {
	listener, path := listen(t, Options{DrainTimeout: 10 * time.Millisecond})
	d := connect(t, path)
	d.expect("READY 128 0")
	listener.Close()
	d.expect("DRAIN", "end")
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after the end: %v", err)
	}
}

func TestViolations(t *testing.T) {
	log := &logged{}
	listener, path := listen(t, Options{Window: 2, Logf: log.logf})
	before := openDescriptors()
	long := make([]byte, 2000)
	stated := handoffMessage(1)
	stated[2]++
	version := handoffMessage(1)
	version[0] = 2
	overrun := append(handoffMessage(1), 99, 0, 5, 0, 1)
	overrun[2] += 5
	for _, row := range []struct {
		why      string
		messages [][]byte
	}{
		{"more than 1024 bytes", [][]byte{long}},
		{"shorter than its header", [][]byte{{1, 2, 3}}},
		{"states 41 bytes and has 40", [][]byte{stated}},
		{"version 2", [][]byte{version}},
		{"overruns its message", [][]byte{overrun}},
		{"field 7 twice", [][]byte{handoffMessage(1, field32(fieldFlags, 1))}},
		{"field 10 of 5 bytes", [][]byte{handoffMessage(1, field(fieldClientAddress, 1, 2, 3, 4, 5))}},
		{"without CONNECTION_ID", [][]byte{message(typeHandoff, 1)}},
		{"which only instances send", [][]byte{message(typeAck, 1)}},
		{"unknown type 77", [][]byte{message(77, 1)}},
	} {
		for try := 0; try < 2; try++ { // the second time it is not logged
			d := connect(t, path)
			d.expect("READY 2 0")
			_, file := client(t)
			for _, bytes := range row.messages {
				if len(bytes) > 1 && bytes[1] != typeHandoff {
					d.send(bytes)
				} else {
					d.send(bytes, file)
				}
			}
			for d.read() != "end" {
			}
			d.conn.Close()
			file.Close()
		}
		lines := log.all()
		last := lines[len(lines)-1]
		if !strings.Contains(last, row.why) || !strings.Contains(last, fmt.Sprintf("process %d of user %d", os.Getpid(), os.Getuid())) {
			t.Errorf("%s: logged %q", row.why, last)
		}
	}
	if lines := log.all(); len(lines) != 10 {
		t.Errorf("%d lines are logged: %q", len(lines), lines)
	}
	// But for the listener's own copy of what it accepted, and for the clients' ends, which are closed at the test's end.
	until(t, "nothing to be open", func() bool { return openDescriptors() <= before+20 })
	if open, _ := listener.state(); open != 0 {
		t.Errorf("%d connections are open", open)
	}
}

func TestSequenceGap(t *testing.T) {
	log := &logged{}
	listener, path := listen(t, Options{Logf: log.logf})
	d := connect(t, path)
	d.expect("READY 128 0")
	own, file := client(t)
	d.send(handoffMessage(0xffffffff), file)
	conn := accept(t, listener)
	d.expect("ACK 255 1")
	d.send(handoffMessage(1), file) // 0 is next
	d.expect("end")
	file.Close()
	if lines := log.all(); len(lines) != 1 || !strings.Contains(lines[0], "HANDOFF 1 after 4294967295; one higher is next") {
		t.Errorf("logged %q", lines)
	}
	fmt.Fprint(conn, "served") // what it owns it keeps
	conn.Close()
	if got, _ := io.ReadAll(own); string(got) != "served" {
		t.Errorf("the client read %q", got)
	}
}

func TestWindowExceeded(t *testing.T) {
	log := &logged{}
	_, path := listen(t, Options{Window: 2, Logf: log.logf})
	d := connect(t, path)
	d.expect("READY 2 0")
	// It cannot acknowledge, so that all are outstanding.
	d.stopReading()
	for sequence := uint32(1); sequence <= 3; sequence++ {
		_, file := client(t)
		d.send(handoffMessage(sequence), file)
	}
	until(t, "the complaint", func() bool { return len(log.all()) == 1 })
	if line := log.all()[0]; !strings.Contains(line, "HANDOFF 3 exceeds the window of 2") {
		t.Errorf("logged %q", line)
	}
}

func TestAllowedUsers(t *testing.T) {
	log := &logged{}
	_, path := listen(t, Options{AllowedUsers: []uint32{12345}, Logf: log.logf})
	for try := 0; try < 3; try++ {
		connect(t, path).expect("end")
	}
	lines := log.all()
	if len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf("process %d of user %d may not be a door at %s", os.Getpid(), os.Getuid(), path)) {
		t.Errorf("logged %q", lines)
	}
}

func TestSeveralDoors(t *testing.T) {
	listener, path := listen(t, Options{Logf: (&logged{}).logf})
	good, bad := connect(t, path), connect(t, path)
	good.expect("READY 128 0")
	bad.expect("READY 128 0")
	bad.send([]byte{9})
	bad.expect("end")
	_, file := client(t)
	good.handOver(file)
	accept(t, listener)
	good.expect("ACK 1 1")
}

func TestFloodOfChannels(t *testing.T) {
	log := &logged{}
	_, path := listen(t, Options{Logf: log.logf})
	for i := 0; i < maxChannels; i++ {
		connect(t, path).expect("READY 128 0")
	}
	connect(t, path).expect("end")
	connect(t, path).expect("end")
	until(t, "the complaint", func() bool { return len(log.all()) > 0 })
	if lines := log.all(); len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf("process %d of user %d has 256 channels open", os.Getpid(), os.Getuid())) {
		t.Errorf("logged %q", lines)
	}
}

func TestPath(t *testing.T) {
	listener, path := listen(t, Options{})
	status, err := os.Stat(path)
	if err != nil || status.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", status.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s: it is in use by process %d; stop it", path, os.Getpid())) {
		t.Errorf("a second one: %v", err)
	}
	// One that died leaves its path.
	stale := filepath.Join(filepath.Dir(path), "stale.sock")
	dead, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET, 0)
	if err != nil || syscall.Bind(dead, &syscall.SockaddrUnix{Name: stale}) != nil || syscall.Listen(dead, 1) != nil {
		t.Fatal("no stale socket")
	}
	syscall.Close(dead)
	second, err := Listen(stale)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	// Another's socket at the path is let alone at the end.
	os.Remove(path)
	third, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	listener.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the other's path: %v", err)
	}
	file := filepath.Join(filepath.Dir(path), "file")
	os.WriteFile(file, nil, 0o600)
	for at, why := range map[string]string{
		file:                               "is no socket",
		"/nonexistent/door.sock":           "no such file or directory",
		"":                                 "the path is empty",
		"/tmp/" + strings.Repeat("x", 120): "107 are allowed",
	} {
		if _, err := Listen(at); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", at, err)
		}
	}
	if _, err := (Options{Window: 129}).Listen(path); err == nil || !strings.Contains(err.Error(), "Window is 129; 1 to 128 are allowed") {
		t.Errorf("window 129: %v", err)
	}
}

func TestFolder(t *testing.T) {
	folder := t.TempDir()
	listener, err := Listen(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	path := listener.Addr().String()
	if !strings.HasPrefix(path, fmt.Sprintf("%s/%d-", folder, os.Getpid())) {
		t.Errorf("the path is %s", path)
	}
	connect(t, path).expect("READY 128 0")
}

func TestAbstract(t *testing.T) {
	name := fmt.Sprintf("@handoff-test-%d", os.Getpid())
	listener, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	connect(t, name).expect("READY 128 0")
	if _, err := Listen(name); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("a second one: %v", err)
	}
}

// Under the service manager: this test's own program, in another process, with the socket as descriptor 3.
func TestPassedSocket(t *testing.T) {
	if path := os.Getenv("HANDOFF_TEST_PASSED"); path != "" {
		listener, err := Options{FDName: os.Getenv("HANDOFF_TEST_NAME")}.Listen(path)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		conn, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		fmt.Fprint(conn, "passed")
		conn.Close()
		listener.Close()
		os.Exit(0)
	}
	path := filepath.Join(t.TempDir(), "door.sock")
	manager, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	raw, _ := manager.SyscallConn()
	raw.Control(func(fd uintptr) { // PassCredentials=yes in the unit: channels inherit it, and so more comes beside messages
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
	})
	for _, row := range []struct{ name, given, says string }{
		{"", "door", ""}, {"door", "door", ""}, {"other", "door", `no passed descriptor is named "other"`},
	} {
		socket, err := manager.File()
		if err != nil {
			t.Fatal(err)
		}
		service := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run=TestPassedSocket`, os.Args[0])
		service.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+row.given, "HANDOFF_TEST_PASSED="+path, "HANDOFF_TEST_NAME="+row.name)
		service.ExtraFiles = []*os.File{socket}
		output := &strings.Builder{}
		service.Stdout, service.Stderr = output, output
		if err := service.Start(); err != nil {
			t.Fatal(err)
		}
		if row.says == "" {
			d := connect(t, path)
			d.expect("READY 128 0")
			own, file := client(t)
			d.handOver(file)
			d.expect("ACK 1 1")
			file.Close()
			if got, _ := io.ReadAll(own); string(got) != "passed" {
				t.Errorf("the client read %q: %s", got, output)
			}
		}
		err = service.Wait()
		if (err == nil) != (row.says == "") || !strings.Contains(output.String(), row.says) {
			t.Errorf("%q: %v, %s", row.name, err, output)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("the manager's path: %v", err)
		}
		socket.Close()
	}
}
