// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "tuppence",
  products: [
    .executable(name: "serve", targets: ["serve"]),
    .executable(name: "clie", targets: ["clie"]),
    .library(name: "NetKit", targets: ["NetKit", "Base"]),
    .library(name: "TPC", targets: ["TPC", "Base"]),
    .library(name: "Tuppence", targets: ["Tuppence", "Node", "Client", "Base"]),
  ],
  targets: [
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CHardware"),
    .target(name: "Base", dependencies: ["CHardware"], swiftSettings: settings),
    .target(name: "NetKit", dependencies: ["Base", "CLinux"], swiftSettings: settings),
    .target(name: "TPC", dependencies: ["Base"], swiftSettings: settings),
    .target(name: "Store", dependencies: ["Base", "CLinux"], swiftSettings: settings),
    .target(
      name: "Node", dependencies: ["Base", "NetKit", "Store", "TPC"], swiftSettings: settings),
    .target(name: "Client", dependencies: ["Base", "NetKit"], swiftSettings: settings),
    .target(
      name: "Tuppence", dependencies: ["Base", "NetKit", "TPC", "Store", "Node"],
      swiftSettings: settings),
    .executableTarget(
      name: "serve",
      dependencies: ["Base", "CLinux", "NetKit", "TPC", "Store", "Node", "Tuppence"],
      swiftSettings: settings),
    .executableTarget(
      name: "clie", dependencies: ["Base", "CLinux", "NetKit", "Client"],
      swiftSettings: settings),
    .target(
      name: "SimKit", dependencies: ["Base", "NetKit", "Store", "TPC", "Node", "Client"],
      path: "Tests/SimKit", swiftSettings: settings),
    .executableTarget(
      name: "simulate", dependencies: ["Base", "SimKit", "TPCWorld"], path: "Tests/simulate",
      swiftSettings: settings),
    .executableTarget(
      name: "loadgen", dependencies: ["Base", "CLinux"], path: "Benchmarks/loadgen",
      swiftSettings: settings),
    .testTarget(
      name: "TuppenceTests", dependencies: ["Tuppence", "Client"], swiftSettings: settings),
    .testTarget(name: "BaseTests", dependencies: ["Base"], swiftSettings: settings),
    .target(
      name: "Conformance", dependencies: ["Base", "NetKit"], path: "Tests/Conformance",
      swiftSettings: settings),
    .testTarget(
      name: "NetKitTests", dependencies: ["Base", "Conformance", "NetKit"],
      swiftSettings: settings),
    .target(
      name: "TPCWorld", dependencies: ["Base", "TPC"], path: "Tests/TPCWorld",
      swiftSettings: settings),
    .executableTarget(
      name: "explore", dependencies: ["Base", "TPC", "TPCWorld"], path: "Tests/explore",
      swiftSettings: settings),
    .testTarget(
      name: "TPCTests", dependencies: ["Base", "TPC", "TPCWorld"], exclude: ["Golden"],
      swiftSettings: settings),
    .testTarget(name: "StoreTests", dependencies: ["Base", "Store"], swiftSettings: settings),
    .testTarget(
      name: "NodeTests", dependencies: ["Base", "NetKit", "Store", "TPC", "Node"],
      swiftSettings: settings),
    .testTarget(
      name: "ClientTests", dependencies: ["Base", "NetKit", "Client", "clie"],
      exclude: ["Golden"], swiftSettings: settings),
    .testTarget(
      name: "SimTests", dependencies: ["Base", "Conformance", "NetKit", "Store", "Node", "SimKit"],
      swiftSettings: settings),
    .testTarget(name: "Tidy", path: "Tests/Tidy", swiftSettings: settings),
  ]
)
