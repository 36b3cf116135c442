// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
]

// A package of its own: it sees of Tuppence what every user of the libraries sees.
let package = Package(
  name: "tuppence-examples",
  dependencies: [.package(name: "tuppence", path: "..")],
  targets: [
    .executableTarget(
      name: "shop",
      dependencies: [
        .product(name: "NetKit", package: "tuppence"),
        .product(name: "TPC", package: "tuppence"),
      ],
      path: "Shop", exclude: ["README.md", "story.py"], swiftSettings: settings),
    .executableTarget(
      name: "embed", dependencies: [.product(name: "Tuppence", package: "tuppence")],
      path: "Embed", exclude: ["check.py"], swiftSettings: settings),
  ]
)
