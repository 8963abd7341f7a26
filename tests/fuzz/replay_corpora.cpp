// Runs the corpora of one table of fuzz targets through them, then mutations of them, from a fixed
// seed: what libFuzzer does, for builds that do not have it.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "target.hpp"

namespace {

using namespace sluice;
using Bytes = std::vector<std::byte>;

std::vector<Bytes> load(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    std::vector<Bytes> files;
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        const auto* at = reinterpret_cast<const std::byte*>(text.data());
        files.emplace_back(at, at + text.size());
    }
    return files;
}

void mutate(Rng& rng, Bytes& bytes, const std::vector<Bytes>& others) {
    for (std::uint64_t i = 1 + rng.below(4); i > 0; --i) {
        if (bytes.empty()) bytes.resize(1 + rng.below(40));
        const std::size_t at = rng.below(bytes.size());
        const auto here = bytes.begin() + static_cast<long>(at);
        switch (rng.below(8)) {
            case 0: *here = static_cast<std::byte>(rng.next()); break;
            case 1: *here ^= static_cast<std::byte>(1u << rng.below(8)); break;
            case 2: *here = static_cast<std::byte>(rng.chance(0.5) ? 0 : 0xff); break;
            case 3: bytes.resize(at); break;
            case 4: bytes.insert(here, 1 + rng.below(6), static_cast<std::byte>(rng.next())); break;
            case 5:  // where a tag or a length may be: one more or less
                *here = static_cast<std::byte>(std::to_integer<unsigned>(*here) +
                                               (rng.chance(0.5) ? 1u : 255u));
                break;
            case 6: {  // a piece again, which may be a field
                const std::size_t size = 1 + rng.below(std::min<std::size_t>(
                                                 32, bytes.size() - at));
                const Bytes piece(here, here + static_cast<long>(size));
                bytes.insert(here, piece.begin(), piece.end());
                break;
            }
            default: {  // a piece of another one
                const Bytes& other = others[rng.below(others.size())];
                if (other.empty()) break;
                const std::size_t from = rng.below(other.size());
                const std::size_t size = std::min(1 + rng.below(32), other.size() - from);
                bytes.insert(here, other.begin() + static_cast<long>(from),
                             other.begin() + static_cast<long>(from + size));
            }
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Replays the corpora of fuzz targets, and mutations of them"};
    std::uint64_t count = 200000;
    std::uint64_t seed = 1;
    std::string corpus;
    app.add_option("--count", count, "mutations for each target");
    app.add_option("--seed", seed, "another sequence of mutations");
    app.add_option("--corpus", corpus, "folder with one corpus for each target")->required();
    CLI11_PARSE(app, argc, argv);
    for (const fuzz::Target& target : fuzz::targets()) {
        const std::vector<Bytes> files = load(std::filesystem::path(corpus) / target.name);
        std::uint64_t understood = 0;
        for (const Bytes& file : files) understood += target.run(file) ? 1 : 0;
        // Most of a corpus is what was really said.
        if (understood == 0) {
            fmt::print("{}: nothing in the corpus is understood\n", target.name);
            return EXIT_FAILURE;
        }
        Rng rng(seed);
        std::uint64_t mutations = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            Bytes bytes = files[rng.below(files.size())];
            mutate(rng, bytes, files);
            mutations += target.run(bytes) ? 1 : 0;
        }
        fmt::print("{}: {} of {} files and {} of {} mutations understood\n", target.name,
                   understood, files.size(), mutations, count);
    }
    return EXIT_SUCCESS;
}
