package media

import "github.com/chanseal/chanseal/media/ebml"

// The elements of Matroska that this package looks at (RFC 9559, Section 5.1).
const (
	idEBMLReadVersion   ebml.ID = 0x42F7
	idEBMLMaxIDLength   ebml.ID = 0x42F2
	idEBMLMaxSizeLength ebml.ID = 0x42F3
	idDocType           ebml.ID = 0x4282
	idDocTypeVersion    ebml.ID = 0x4287
	idDocTypeReadVers   ebml.ID = 0x4285
	idEBMLVersion       ebml.ID = 0x4286

	idSegment     ebml.ID = 0x18538067
	idSeekHead    ebml.ID = 0x114D9B74
	idSeek        ebml.ID = 0x4DBB
	idSeekID      ebml.ID = 0x53AB
	idSeekPos     ebml.ID = 0x53AC
	idInfo        ebml.ID = 0x1549A966
	idTracks      ebml.ID = 0x1654AE6B
	idChapters    ebml.ID = 0x1043A770
	idTags        ebml.ID = 0x1254C367
	idAttachments ebml.ID = 0x1941A469
	idCues        ebml.ID = 0x1C53BB6B
	idCluster     ebml.ID = 0x1F43B675

	idTimestampScale ebml.ID = 0x2AD7B1
	idDuration       ebml.ID = 0x4489
	idMuxingApp      ebml.ID = 0x4D80
	idWritingApp     ebml.ID = 0x5741

	idTrackEntry          ebml.ID = 0xAE
	idTrackNumber         ebml.ID = 0xD7
	idTrackUID            ebml.ID = 0x73C5
	idTrackType           ebml.ID = 0x83
	idFlagLacing          ebml.ID = 0x9C
	idCodecID             ebml.ID = 0x86
	idCodecPrivate        ebml.ID = 0x63A2
	idContentEncodings    ebml.ID = 0x6D80
	idDefaultDuration     ebml.ID = 0x23E383
	idCodecDelay          ebml.ID = 0x56AA
	idSeekPreRoll         ebml.ID = 0x56BB
	idTrackTimestampScale ebml.ID = 0x23314F
	idVideo               ebml.ID = 0xE0
	idPixelWidth          ebml.ID = 0xB0
	idPixelHeight         ebml.ID = 0xBA
	idDisplayWidth        ebml.ID = 0x54B0
	idDisplayHeight       ebml.ID = 0x54BA
	idDisplayUnit         ebml.ID = 0x54B2
	idAlphaMode           ebml.ID = 0x53C0
	idAudio               ebml.ID = 0xE1
	idSamplingFrequency   ebml.ID = 0xB5
	idOutputSamplingFreq  ebml.ID = 0x78B5
	idChannels            ebml.ID = 0x9F
	idBitDepth            ebml.ID = 0x6264

	idTimestamp      ebml.ID = 0xE7
	idPosition       ebml.ID = 0xA7
	idPrevSize       ebml.ID = 0xAB
	idSimpleBlock    ebml.ID = 0xA3
	idEncryptedBlock ebml.ID = 0xAF
	idBlockGroup     ebml.ID = 0xA0
	idBlock          ebml.ID = 0xA1
	idBlockDuration  ebml.ID = 0x9B
	idReferenceBlock ebml.ID = 0xFB
	idDiscardPadding ebml.ID = 0x75A2

	idCuePoint       ebml.ID = 0xBB
	idCueTime        ebml.ID = 0xB3
	idCueTrackPos    ebml.ID = 0xB7
	idCueTrack       ebml.ID = 0xF7
	idCueClusterPos  ebml.ID = 0xF1
	idCueRelativePos ebml.ID = 0xF0
)

// endsCluster reports that an element cannot lie in a Cluster, so that it ends
// one of unknown size (RFC 8794, Section 6.2): what may follow a Cluster in its
// Segment, and what may follow the Segment.
func endsCluster(id ebml.ID) bool {
	switch id {
	case idCluster, idCues, idTags, idChapters, idAttachments, idSeekHead, idInfo, idTracks, idSegment, ebml.IDHeader:
		return true
	}
	return false
}

// isMaster reports that a child of the Segment is a master that may begin with a
// CRC-32. Of an unknown one that is not known.
func isMaster(id ebml.ID) bool {
	switch id {
	case idInfo, idTracks, idTags, idChapters, idAttachments:
		return true
	}
	return false
}

// Limits of the Matroska reader, each named in the error of what is over it.
const (
	maxHead       = 16 << 20 // bytes of elements in front of and with Info and Tracks
	maxTracks     = 1024
	maxReferences = 256     // ReferenceBlocks of a frame
	maxCodecID    = 255     // bytes
	maxPiece      = 1 << 20 // bytes of Data of an element's piece
	maxClusterElt = 1 << 20 // bytes of an unknown element inside a Cluster
)
