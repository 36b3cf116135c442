// swift-tools-version: 6.2
import PackageDescription

// The fuzz targets, a package of their own because libFuzzer and AddressSanitizer must be compiled into
// every module and would break a plain build of the main package. Built and run by run.sh, which adds
// the flags.
let package = Package(
  name: "fuzz",
  dependencies: [.package(name: "tuppence", path: "../..")],
  targets: [
    .systemLibrary(name: "CFuzzer"),
    .executableTarget(
      name: "fuzz",
      dependencies: [
        "CFuzzer",
        .product(name: "NetKit", package: "tuppence"),
        .product(name: "TPC", package: "tuppence"),
        .product(name: "Tuppence", package: "tuppence"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]),
  ]
)
