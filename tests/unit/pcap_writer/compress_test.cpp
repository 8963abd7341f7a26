#include "pcap_writer/compress.hpp"

#include <lz4frame.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <vector>

#include "base/rng.hpp"

using namespace sluice;
using Catch::Matchers::Contains;
using pcap::Codec;
using File = std::vector<std::byte>;

namespace {

// Half of it repeats, so that there is something to gain.
File piece(std::size_t bytes, std::uint64_t seed) {
    Rng rng(seed);
    File f(bytes);
    for (std::size_t i = 0; i < bytes; ++i)
        f[i] = static_cast<std::byte>(i % 64 < 32 ? i : rng.next());
    return f;
}

// A file of several frames, as the zstd and lz4 tools read it.
File unpack_zstd(const File& file) {
    File out;
    for (std::size_t at = 0; at < file.size();) {
        const std::size_t frame = ZSTD_findFrameCompressedSize(&file[at], file.size() - at);
        REQUIRE(!ZSTD_isError(frame));
        File plain(ZSTD_getFrameContentSize(&file[at], frame));
        REQUIRE(ZSTD_decompress(plain.data(), plain.size(), &file[at], frame) == plain.size());
        out.insert(out.end(), plain.begin(), plain.end());
        at += frame;
    }
    return out;
}

File unpack_lz4(const File& file) {
    LZ4F_dctx* context = nullptr;
    REQUIRE(!LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)));
    File out;
    std::size_t hint = 1;
    for (std::size_t at = 0; at < file.size();) {
        File plain(1 << 20);
        std::size_t produced = plain.size();
        std::size_t taken = file.size() - at;
        hint = LZ4F_decompress(context, plain.data(), &produced, &file[at], &taken, nullptr);
        REQUIRE(!LZ4F_isError(hint));
        out.insert(out.end(), plain.begin(),
                   plain.begin() + static_cast<std::ptrdiff_t>(produced));
        at += taken;
    }
    CHECK(hint == 0);  // the last frame is complete
    LZ4F_freeDecompressionContext(context);
    return out;
}

}  // namespace

TEST_CASE("frames one after the other are a compressed file") {
    for (const Codec codec : {Codec::none, Codec::zstd, Codec::lz4})
        for (const int level : {0, 1, 5}) {
            auto c = pcap::Compressor::create(codec, level);
            REQUIRE(c);
            File plain;
            File packed;
            std::uint64_t seed = 0;
            for (const std::size_t bytes : {1u, 24u, 100'000u, 4u << 20, 1u, 0u, 333u}) {
                const File in = piece(bytes, ++seed);
                File out((*c)->bound(bytes));
                auto n = (*c)->compress(in, out);
                if (!n) FAIL(n.error().message);
                REQUIRE(*n <= out.size());
                plain.insert(plain.end(), in.begin(), in.end());
                packed.insert(packed.end(), out.begin(),
                              out.begin() + static_cast<std::ptrdiff_t>(*n));
            }
            if (codec == Codec::none) CHECK(packed == plain);
            if (codec == Codec::zstd) CHECK(unpack_zstd(packed) == plain);
            if (codec == Codec::lz4) CHECK(unpack_lz4(packed) == plain);
            if (codec != Codec::none) CHECK(packed.size() < plain.size() * 3 / 4);
        }
}

TEST_CASE("too little room is an error") {
    for (const Codec codec : {Codec::none, Codec::zstd, Codec::lz4}) {
        auto c = pcap::Compressor::create(codec, 0);
        REQUIRE(c);
        File out(16);
        CHECK(!(*c)->compress(piece(10'000, 1), out));
        // And the next call works.
        File room((*c)->bound(10'000));
        CHECK((*c)->compress(piece(10'000, 1), room));
    }
}

TEST_CASE("codecs have names, and levels limits") {
    for (const Codec codec : {Codec::none, Codec::zstd, Codec::lz4})
        CHECK(pcap::parse_codec(pcap::name_of(codec)) == codec);
    auto unknown = pcap::parse_codec("gzip");
    REQUIRE(!unknown);
    CHECK_THAT(unknown.error().message, Contains("\"gzip\" is not a compression"));
    CHECK(pcap::extension_of(Codec::zstd) == ".zst");
    CHECK(pcap::extension_of(Codec::none).empty());
    auto zstd = pcap::Compressor::create(Codec::zstd, 99);
    REQUIRE(!zstd);
    CHECK_THAT(zstd.error().message, Contains("zstd has no level 99"));
    auto lz4 = pcap::Compressor::create(Codec::lz4, 99);
    REQUIRE(!lz4);
    CHECK_THAT(lz4.error().message, Contains("lz4 has no level 99"));
}
