// Package guest is what a virtual machine of test/vm is told by its host, and what it tells back.
package guest

import "time"

const (
	Init      = "/init"  // the first program, test/vm/init
	OrderFile = "/order" // an Order in JSON
	Port      = "report" // the virtio-serial port that takes Reports, in gob
)

// Beat is how often a guest tells that it is alive.
const Beat = time.Second

// Order is what the guest has to do.
type Order struct {
	Modules  []string // to load
	Commands []Command
	Fetch    []string // files and folders to bring back when all commands have ended
}

// Command is a program to run, in the guest.
type Command struct {
	Args []string // the program, found in PATH, and what it is given
	Dir  string
	Env  []string // added to the guest's: NAME=VALUE
}

// Report is one piece of news. At most one of its fields is set; none is set in that which only tells that the guest is alive.
type Report struct {
	Kernel string // the first: the kernel's release
	Output []byte // of the command that runs
	Exit   *Exit  // it has ended
	File   *File  // one that was to be fetched
	Error  string // why the guest cannot go on: the last
	Done   bool   // all is done: the last
}

// Exit is how a command ended.
type Exit struct {
	Code  int // -1: by a signal, or it was not started
	Error string
	Took  time.Duration
}

// File is a regular file.
type File struct {
	Name string // its path in the guest
	Data []byte
}
