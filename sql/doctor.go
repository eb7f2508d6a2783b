package sql

import _ "embed"

// DoctorBegin begins a read-only transaction.
//
//go:embed doctor_begin.sql
var DoctorBegin string

// DoctorClock reads the server's clock.
//
//go:embed doctor_clock.sql
var DoctorClock string

// DoctorServer reads settings and what is left of limits.
//
//go:embed doctor_server.sql
var DoctorServer string

// DoctorInstalled tells what of Gapless is there.
//
//go:embed doctor_installed.sql
var DoctorInstalled string

// DoctorLogins tells which logins could be the relay's.
//
//go:embed doctor_logins.sql
var DoctorLogins string

// DoctorEmitters lists what emits logical messages and is open to everybody.
//
//go:embed doctor_emitters.sql
var DoctorEmitters string

// DoctorRights lists the rights that a login lacks for a relay.
//
//go:embed doctor_rights.sql
var DoctorRights string

// DoctorPublication looks for a publication.
//
//go:embed doctor_publication.sql
var DoctorPublication string

// DoctorPublished lists the tables of a publication.
//
//go:embed doctor_published.sql
var DoctorPublished string

// DoctorSlots lists replication slots with the WAL that they keep.
//
//go:embed doctor_slots.sql
var DoctorSlots string

// DoctorProgress sets a slot's record against the server.
//
//go:embed doctor_progress.sql
var DoctorProgress string

// DoctorTransactions lists transactions that are open for long.
//
//go:embed doctor_transactions.sql
var DoctorTransactions string

// DoctorPrepared lists prepared transactions left open.
//
//go:embed doctor_prepared.sql
var DoctorPrepared string

// DoctorOutboxPartitions counts partitions of the outbox, and the days they last.
//
//go:embed doctor_outbox_partitions.sql
var DoctorOutboxPartitions string

// DoctorInboxPartitions counts partitions of the inbox, and the days they last.
//
//go:embed doctor_inbox_partitions.sql
var DoctorInboxPartitions string

// DoctorTypes lists aggregate types of the outbox.
//
//go:embed doctor_types.sql
var DoctorTypes string

// DoctorRoutes lists what rows of another table are routed by.
//
//go:embed doctor_routes.sql
var DoctorRoutes string

// DoctorParked counts parked rows.
//
//go:embed doctor_parked.sql
var DoctorParked string
