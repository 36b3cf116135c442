// What options, failures and members of a server are made of. Of the store not everything: it has
// names that `Client` has too.
@_exported public import Base
@_exported public import NetKit
@_exported public import Node
@_exported public import TPC

@_exported public import struct Store.CheckpointPolicy
@_exported public import struct Store.DatabaseLimits
@_exported public import struct Store.DiskFault
@_exported public import enum Store.Durability
@_exported public import enum Store.RecoveryError
@_exported public import struct Store.ThreadedDisk
