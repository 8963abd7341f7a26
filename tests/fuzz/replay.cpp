// Runs the corpus through the fuzz targets, then frames mutated from real ones through whole
// devices, from a fixed seed: what libFuzzer does, for builds that do not have it.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "targets.hpp"

namespace {

using namespace sluice;
namespace vmpi = rina::vmpi;
using Bytes = std::vector<std::byte>;

std::size_t replay_corpus(const std::filesystem::path& folder,
                          void (*target)(std::span<const std::byte>)) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& path : files) {
        std::ifstream file(path, std::ios::binary);
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        target({reinterpret_cast<const std::byte*>(text.data()), text.size()});
    }
    return files.size();
}

void mutate(Rng& rng, Bytes& frame) {
    for (std::uint64_t i = rng.below(5); i > 0; --i) {
        if (frame.empty()) frame.resize(1 + rng.below(40));
        const std::size_t at = rng.below(frame.size());
        switch (rng.below(6)) {
            case 0: frame[at] = static_cast<std::byte>(rng.next()); break;
            case 1: frame[at] ^= static_cast<std::byte>(1u << rng.below(8)); break;
            case 2: frame[at] = static_cast<std::byte>(rng.chance(0.5) ? 0 : 0xff); break;
            case 3: frame.resize(at); break;
            case 4: frame.resize(frame.size() + rng.below(32)); break;
            default:  // a small number where a type, a channel or a length may be
                frame[std::min(at, std::size_t{34}) % frame.size()] =
                    static_cast<std::byte>(rng.below(20));
        }
    }
}

void mutate_many(vmpi::Profile profile, std::uint64_t count, std::uint64_t seed) {
    Rng rng(seed);
    std::uint64_t fed = 0;
    std::uint64_t parsed = 0;
    while (fed < count) {
        // A device for a while, then a fresh one: what needs many frames is seen, and what needs
        // an empty device too.
        fuzz::Device device(profile);
        const std::uint64_t end = std::min<std::uint64_t>(count - fed, 20000);
        for (std::uint64_t i = 0; i < end; ++i) {
            Bytes frame = device.samples()[rng.below(device.samples().size())];
            mutate(rng, frame);
            device.feed(frame);
            if (i % 8 == 0 && frame.size() > 4) fuzz::control(std::span(frame).subspan(4));
            if (i % 1024 == 0) device.check_undisturbed();
        }
        device.check_undisturbed();
        fed += end;
        parsed += device.parsed();
    }
    fmt::print("{}: {} frames, {} followed the grammar, the flow was never disturbed\n",
               profile == vmpi::Profile::irati ? "irati" : "sluice", fed, parsed);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Replays the fuzz corpus and mutated frames"};
    std::uint64_t count = 200000;
    std::uint64_t seed = 1;
    std::string corpus;
    app.add_option("--count", count, "frames to mutate and feed, over both profiles");
    app.add_option("--seed", seed, "another sequence of mutations");
    app.add_option("--corpus", corpus, "folder with the corpora \"control\" and \"device\"");
    CLI11_PARSE(app, argc, argv);
    if (!corpus.empty()) {
        const std::size_t files = replay_corpus(corpus + "/control", fuzz::control) +
                                  replay_corpus(corpus + "/device", fuzz::device);
        fmt::print("{} files of the corpus replayed\n", files);
        if (files == 0) return EXIT_FAILURE;
    }
    mutate_many(vmpi::Profile::sluice, count - count / 2, seed);
    mutate_many(vmpi::Profile::irati, count / 2, seed + 1);
    return EXIT_SUCCESS;
}
