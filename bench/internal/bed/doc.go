// Package bed is what the measurements stand on: building the program, running
// its commands, waiting for its services, and telling which process used the
// processors.
//
// It measures nothing itself. What it reads of other processes it reads from
// /proc, and finds nothing where there is none.
package bed
