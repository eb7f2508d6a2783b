package debezium

import (
	"encoding/binary"
	"errors"
)

// errSerialized says that a file is not what FileOffsetBackingStore writes.
var errSerialized = errors.New("not a file of Kafka Connect's FileOffsetBackingStore")

// readMap reads the one thing that FileOffsetBackingStore writes: a
// java.util.HashMap<byte[], byte[]> in Java's serialization. A null is nil.
//
// Source: Java Object Serialization Specification, chapter 6.
func readMap(file []byte) ([][2][]byte, error) {
	s := stream{rest: file}
	s.want(0xac, 0xed, 0, 5)             // magic, version
	s.want(tcObject, tcClassDesc)        //
	if s.text() != "java.util.HashMap" { // and its version
		return nil, errSerialized
	}
	s.take(8)
	s.want(3, 0, 2) // written by its own method; two fields
	for range 2 {   // loadFactor, threshold
		s.take(1)
		s.text()
	}
	s.want(tcEndBlockData, tcNull) // no annotation, no superclass
	s.take(8)                      // values of the fields
	s.want(tcBlockData, 8)
	s.take(4) // capacity
	n := s.number()
	var pairs [][2][]byte
	for range n {
		pairs = append(pairs, [2][]byte{s.bytes(), s.bytes()})
		if s.broken { // before a size that is none is believed
			return nil, errSerialized
		}
	}
	s.want(tcEndBlockData)
	if s.broken || len(s.rest) > 0 {
		return nil, errSerialized
	}
	return pairs, nil
}

// The bytes that begin a thing.
const (
	tcNull         = 0x70
	tcReference    = 0x71
	tcClassDesc    = 0x72
	tcObject       = 0x73
	tcArray        = 0x75
	tcBlockData    = 0x77
	tcEndBlockData = 0x78
)

// stream reads on from where it is; once broken it gives nothing any more.
type stream struct {
	rest   []byte
	broken bool
}

func (s *stream) take(n int) []byte {
	if n < 0 || len(s.rest) < n {
		s.broken, s.rest = true, nil
		return nil
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *stream) want(what ...byte) {
	if string(s.take(len(what))) != string(what) {
		s.broken, s.rest = true, nil
	}
}

func (s *stream) text() string {
	n := s.take(2)
	if n == nil {
		return ""
	}
	return string(s.take(int(binary.BigEndian.Uint16(n))))
}

func (s *stream) number() int {
	n := s.take(4)
	if n == nil {
		return 0
	}
	return int(int32(binary.BigEndian.Uint32(n)))
}

// bytes reads a byte[]. Its class is described at the first, and referred to later.
func (s *stream) bytes() []byte {
	kind := s.take(1)
	if kind == nil || kind[0] == tcNull {
		return nil
	}
	class := s.take(1)
	switch {
	case kind[0] != tcArray || class == nil:
		s.broken = true
	case class[0] == tcReference:
		s.take(4)
	case class[0] == tcClassDesc:
		if s.text() != "[B" {
			s.broken = true
		}
		s.take(8)
		s.want(2, 0, 0, tcEndBlockData, tcNull) // serializable, no fields
	default:
		s.broken = true
	}
	b := s.take(s.number())
	if s.broken {
		return nil
	}
	return b
}
