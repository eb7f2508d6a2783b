package sql

import _ "embed"

// RelayCheck reads what must be right before a stream starts.
//
//go:embed relay_check.sql
var RelayCheck string

// RelayAttributes reads what the catalog alone knows of a table's columns.
//
//go:embed relay_attributes.sql
var RelayAttributes string

// RelayPause pauses the relays of a slot, or lets them go on.
//
//go:embed relay_pause.sql
var RelayPause string

// RelaySignalPause pauses the relays of a slot for a signal.
//
//go:embed relay_signal_pause.sql
var RelaySignalPause string

// RelaySignalResume lets the relays of a slot go on for a signal.
//
//go:embed relay_signal_resume.sql
var RelaySignalResume string

// RelayTell stores what a relay alone knows of its state.
//
//go:embed relay_tell.sql
var RelayTell string

// RelayControl reads what operators want of a slot's relays.
//
//go:embed relay_control.sql
var RelayControl string

// RelayProgressLoad reads the stored position of a slot.
//
//go:embed relay_progress_load.sql
var RelayProgressLoad string

// RelayProgressCreate stores the first position of a slot.
//
//go:embed relay_progress_create.sql
var RelayProgressCreate string

// RelayProgressRecount stores whether logical messages are counted.
//
//go:embed relay_progress_recount.sql
var RelayProgressRecount string

// RelayProgressTake fences earlier owners of a slot and reads the final position.
//
//go:embed relay_progress_take.sql
var RelayProgressTake string

// RelayProgressStore stores progress for the owner of a slot.
//
//go:embed relay_progress_store.sql
var RelayProgressStore string

// RelayFingerprint identifies a publication as it is now.
//
//go:embed relay_fingerprint.sql
var RelayFingerprint string

// RelayTableForget forgets since when tables are relayed, which are left out now.
//
//go:embed relay_table_forget.sql
var RelayTableForget string

// RelayRoot names the table of a partition.
//
//go:embed relay_root.sql
var RelayRoot string

// RelayDetached names the tables of which a table may have been a partition.
//
//go:embed relay_detached.sql
var RelayDetached string

// RelayTakenOut names the tables that a publication does not publish any more.
//
//go:embed relay_taken_out.sql
var RelayTakenOut string

// RelayProof takes a snapshot and an LSN that prove what was relayed.
//
//go:embed relay_proof.sql
var RelayProof string

// RelaySlot reads the slot's figures.
//
//go:embed relay_slot.sql
var RelaySlot string

// RelaySlotCreate makes a slot.
//
//go:embed relay_slot_create.sql
var RelaySlotCreate string

// RelaySlotDrop drops a slot.
//
//go:embed relay_slot_drop.sql
var RelaySlotDrop string

// RelayOtherSlots lists the slots that a mistyped name may have meant.
//
//go:embed relay_other_slots.sql
var RelayOtherSlots string

// RelayTableEmpty asks whether a published table is empty.
//
//go:embed relay_table_empty.sql
var RelayTableEmpty string

// RelayUnproven lists rows of our own tables that a proof does not cover.
//
//go:embed relay_unproven.sql
var RelayUnproven string

// RelayUnprovenForeign does so for a table without our xid column.
//
//go:embed relay_unproven_foreign.sql
var RelayUnprovenForeign string

// RelayAwait asks a relay to write its record, while the transaction lasts.
//
//go:embed relay_await.sql
var RelayAwait string

// RelayFlush makes the server flush its WAL.
//
//go:embed relay_flush.sql
var RelayFlush string

// RelayFlushMessage does so for a login that may not make a large object.
//
//go:embed relay_flush_message.sql
var RelayFlushMessage string

// RelayIdentity names the columns that tell a table's rows apart.
//
//go:embed relay_identity.sql
var RelayIdentity string

// RelayPeek reads what a slot will still send.
//
//go:embed relay_peek.sql
var RelayPeek string

// RelayPark parks a row.
//
//go:embed relay_park.sql
var RelayPark string

// RelayParkedKeys lists keys that are blocked by a parked row.
//
//go:embed relay_parked_keys.sql
var RelayParkedKeys string

// RelayParkedCount counts parked rows.
//
//go:embed relay_parked_count.sql
var RelayParkedCount string

// RelayTransactions lists the transaction ids that hold something back.
//
//go:embed relay_transactions.sql
var RelayTransactions string

// InspectRelay shows where each relay is.
//
//go:embed inspect_relay.sql
var InspectRelay string

// RelayRowsBeforePublication counts rows of the outbox that are older than its place
// in a publication.
//
//go:embed relay_rows_before_publication.sql
var RelayRowsBeforePublication string

// RelayRowsBeforeSlot counts rows of the outbox that are older than the slot.
//
//go:embed relay_rows_before_slot.sql
var RelayRowsBeforeSlot string

// RelayFence tells whether a relay still has its slot, and keeps it so.
//
//go:embed relay_fence.sql
var RelayFence string

// RelayRequestsOpen lists a slot's open requests.
//
//go:embed relay_requests_open.sql
var RelayRequestsOpen string

// RelayRedriveNext reads the next parked rows that may go out.
//
//go:embed relay_redrive_next.sql
var RelayRedriveNext string

// RelayRedriveSent settles parked rows that the sink has.
//
//go:embed relay_redrive_sent.sql
var RelayRedriveSent string

// RelayRedriveFailed parks a row again.
//
//go:embed relay_redrive_failed.sql
var RelayRedriveFailed string

// RelayRedriveBlocked tells which keys of requests still have rows.
//
//go:embed relay_redrive_blocked.sql
var RelayRedriveBlocked string

// RelayRequestFinish closes requests.
//
//go:embed relay_request_finish.sql
var RelayRequestFinish string

// RelayDeleteRelayed deletes old rows of a foreign outbox table.
//
//go:embed relay_delete_relayed.sql
var RelayDeleteRelayed string

// RelayExplainRow reads rows by their event's id.
//
//go:embed relay_explain_row.sql
var RelayExplainRow string

// RelayPublished lists the tables of a publication.
//
//go:embed relay_published.sql
var RelayPublished string

// RelayExplainLast reads the row with the highest event id.
//
//go:embed relay_explain_last.sql
var RelayExplainLast string

// RelayExplainJSON makes a row of a JSON object.
//
//go:embed relay_explain_json.sql
var RelayExplainJSON string

// RelayTable finds a table.
//
//go:embed relay_table.sql
var RelayTable string

// RelayParkedAhead reads the places of rows parked after a position.
//
//go:embed relay_parked_ahead.sql
var RelayParkedAhead string

// RelayAdopt asks for rows that wait for none.
//
//go:embed relay_adopt.sql
var RelayAdopt string

// RelayTableSince notes since when a table of one's own is relayed.
//
//go:embed relay_table_since.sql
var RelayTableSince string

// RelayFlushed reads where the log that may have been sent ends.
//
//go:embed relay_flushed.sql
var RelayFlushed string

// RelayReplayColumns reads a table's columns.
//
//go:embed relay_replay_columns.sql
var RelayReplayColumns string

// RelayReplayPassed tells whether a relay has passed an LSN.
//
//go:embed relay_replay_passed.sql
var RelayReplayPassed string

// RelayReplayProven reads what a relay is proven to have relayed.
//
//go:embed relay_replay_proven.sql
var RelayReplayProven string

// RelayReplayRows reads a page of what a replay sends of gapless.outbox.
//
//go:embed relay_replay_rows.sql
var RelayReplayRows string

// RelayReplayRowsForeign reads a page of what a replay sends of a table of one's own.
//
//go:embed relay_replay_rows_foreign.sql
var RelayReplayRowsForeign string

// RelayReplayCreate notes a replay.
//
//go:embed relay_replay_create.sql
var RelayReplayCreate string

// RelayReplayTake takes a replay over from whoever ran it before.
//
//go:embed relay_replay_take.sql
var RelayReplayTake string

// RelayReplayStore stores how far a replay is.
//
//go:embed relay_replay_store.sql
var RelayReplayStore string

// RelayReplayHistory tells whether a replay is still on its history.
//
//go:embed relay_replay_history.sql
var RelayReplayHistory string

// RelayReplaySlots lists the slots whose relays relay a table.
//
//go:embed relay_replay_slots.sql
var RelayReplaySlots string

// RelayReplaySince tells since when rows of a table are relayed for certain.
//
//go:embed relay_replay_since.sql
var RelayReplaySince string

// RelayReplayParked tells which keys have parked rows that block them.
//
//go:embed relay_replay_parked.sql
var RelayReplayParked string

// RelaySnapshotStart notes the replays that a signal asks for.
//
//go:embed relay_snapshot_start.sql
var RelaySnapshotStart string

// RelaySnapshotOpen lists the replays that signals have asked for.
//
//go:embed relay_snapshot_open.sql
var RelaySnapshotOpen string

// RelaySnapshotStop stops replays that signals have asked for.
//
//go:embed relay_snapshot_stop.sql
var RelaySnapshotStop string

// RelaySnapshotPause pauses replays that signals have asked for, or lets them go on.
//
//go:embed relay_snapshot_pause.sql
var RelaySnapshotPause string

// RelaySnapshotSettled takes a snapshot, and tells whether it sees all that another left out.
//
//go:embed relay_snapshot_settled.sql
var RelaySnapshotSettled string

// RelaySnapshotPlanned stores what a replay sends.
//
//go:embed relay_snapshot_planned.sql
var RelaySnapshotPlanned string

// RelaySnapshotWanted tells whether a replay is paused or at its end.
//
//go:embed relay_snapshot_wanted.sql
var RelaySnapshotWanted string

// RelaySnapshotFailed ends a replay that cannot be carried out.
//
//go:embed relay_snapshot_failed.sql
var RelaySnapshotFailed string

// RelaySnapshotKey reads the first column of a primary key.
//
//go:embed relay_snapshot_key.sql
var RelaySnapshotKey string

// RelayReplaySettings is for the transactions of a replay.
//
//go:embed relay_replay_settings.sql
var RelayReplaySettings string

// RelayPlace tells whether a database has, or may have, the state of relays.
//
//go:embed relay_place.sql
var RelayPlace string

// RelaySlots lists slots that a mistyped name may have meant, where no table has records.
//
//go:embed relay_slots.sql
var RelaySlots string
