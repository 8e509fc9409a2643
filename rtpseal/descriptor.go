package rtpseal

// Descriptor is the first byte of an RTP payload (draft-ietf-avtcore-rtp-sframe):
//
//	 0 1 2 3 4 5 6 7
//	+-+-+-+-+-+-+-+-+
//	|S|E|T|reserved |
//	+-+-+-+-+-+-+-+-+
type Descriptor uint8

const (
	First     Descriptor = 0x80 // S: the sealed unit begins here
	Last      Descriptor = 0x40 // E: it ends here
	PerPacket Descriptor = 0x20 // T: the unit is the payload of one RTP packet, not a frame

	reserved Descriptor = 0x1F // sent as 0
)

// ParseDescriptor takes the descriptor off a payload. Reserved bits that are set are
// refused: what they will mean cannot be ignored safely.
func ParseDescriptor(payload []byte) (d Descriptor, rest []byte, err error) {
	if len(payload) == 0 || Descriptor(payload[0])&reserved != 0 {
		return 0, nil, ErrDescriptor
	}
	return Descriptor(payload[0]), payload[1:], nil
}
