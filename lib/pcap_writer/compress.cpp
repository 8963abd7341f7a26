#include "pcap_writer/compress.hpp"

#include <lz4frame.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>

namespace sluice::pcap {
namespace {

class Copier final : public Compressor {
  public:
    std::size_t bound(std::size_t in_bytes) const override { return in_bytes; }
    Result<std::size_t> compress(Bytes in, std::span<std::byte> out) override {
        if (out.size() < in.size())
            return fail(ENOBUFS, "{} bytes do not fit into {}", in.size(), out.size());
        std::copy(in.begin(), in.end(), out.begin());
        return in.size();
    }
};

class Zstd final : public Compressor {
  public:
    explicit Zstd(ZSTD_CCtx* context) noexcept : context_(context) {}
    ~Zstd() override { ZSTD_freeCCtx(context_); }
    Zstd(const Zstd&) = delete;
    Zstd& operator=(const Zstd&) = delete;

    static Result<std::unique_ptr<Compressor>> make(int level) {
        if (level != 0 && (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel()))
            return fail(EINVAL, "zstd has no level {}, expected {} to {}, or 0 for its default",
                        level, ZSTD_minCLevel(), ZSTD_maxCLevel());
        ZSTD_CCtx* context = ZSTD_createCCtx();
        if (context == nullptr) return fail(ENOMEM, "no memory for a zstd compressor");
        auto made = std::make_unique<Zstd>(context);
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        return made;
    }

    std::size_t bound(std::size_t in_bytes) const override { return ZSTD_compressBound(in_bytes); }
    Result<std::size_t> compress(Bytes in, std::span<std::byte> out) override {
        const std::size_t n =
            ZSTD_compress2(context_, out.data(), out.size(), in.data(), in.size());
        if (ZSTD_isError(n) != 0)
            return fail(EIO, "zstd cannot compress {} bytes into {}: {}", in.size(), out.size(),
                        ZSTD_getErrorName(n));
        return n;
    }

  private:
    ZSTD_CCtx* context_;
};

class Lz4 final : public Compressor {
  public:
    explicit Lz4(int level) noexcept {
        preferences_.compressionLevel = level;
        preferences_.frameInfo.blockSizeID = LZ4F_max4MB;
        preferences_.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    }

    static Result<std::unique_ptr<Compressor>> make(int level) {
        if (level > LZ4F_compressionLevel_max())
            return fail(EINVAL, "lz4 has no level {}, expected at most {}, or 0 for its default",
                        level, LZ4F_compressionLevel_max());
        return std::make_unique<Lz4>(level);
    }

    std::size_t bound(std::size_t in_bytes) const override {
        return LZ4F_compressFrameBound(in_bytes, &preferences_);
    }
    Result<std::size_t> compress(Bytes in, std::span<std::byte> out) override {
        preferences_.frameInfo.contentSize = in.size();
        const std::size_t n = LZ4F_compressFrame(out.data(), out.size(), in.data(), in.size(),
                                                 &preferences_);
        if (LZ4F_isError(n) != 0)
            return fail(EIO, "lz4 cannot compress {} bytes into {}: {}", in.size(), out.size(),
                        LZ4F_getErrorName(n));
        return n;
    }

  private:
    LZ4F_preferences_t preferences_{};
};

}  // namespace

Result<Codec> parse_codec(std::string_view name) {
    for (const Codec codec : {Codec::none, Codec::zstd, Codec::lz4})
        if (name == name_of(codec)) return codec;
    return fail(EINVAL, "\"{}\" is not a compression, expected zstd, lz4 or none", name);
}

std::string_view name_of(Codec codec) noexcept {
    switch (codec) {
        case Codec::zstd: return "zstd";
        case Codec::lz4: return "lz4";
        case Codec::none: break;
    }
    return "none";
}

std::string_view extension_of(Codec codec) noexcept {
    switch (codec) {
        case Codec::zstd: return ".zst";
        case Codec::lz4: return ".lz4";
        case Codec::none: break;
    }
    return "";
}

Result<std::unique_ptr<Compressor>> Compressor::create(Codec codec, int level) {
    switch (codec) {
        case Codec::zstd: return Zstd::make(level);
        case Codec::lz4: return Lz4::make(level);
        case Codec::none: break;
    }
    return std::make_unique<Copier>();
}

}  // namespace sluice::pcap
