internal import CHardware

/// Has the processor fetch the line of memory at `place` while it goes on, because it will be used
/// soon. Changes nothing else.
public func prefetch(_ place: UnsafeRawPointer) { ch_prefetch(place) }
