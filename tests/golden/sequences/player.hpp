#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node.hpp"

// A recorded story with our node in one of the parts: it is handed what the others sent, in the
// order of the recording, and what it sends must be what was recorded, byte for byte and in order.
//
// What an application or an operator did is not on the wire. It is done to our node when its
// outcome is due: a program is started when its M_CREATE is recorded, user data is written when it
// was seen, and read as far as the recorded node said that it was. Timers of connections fire when
// their control PDU is due; all other timers by the clock of the recording.
namespace sluice::golden {

// Where ours is another than rlite's, and may be. A difference that there is not is a failure too.
struct Difference {
    enum class What {
        // The order of a list's entries is that of a hash table in rlite, and their age the number
        // of its ticks; with ours it is the time that has passed.
        order_and_age,
        // Ours told its links before it had heard of the neighbour's, which it does not tell it.
        sooner,
        // Ours said what comes next first: rlite's timers are some milliseconds late.
        timer_late,
        // Ours does not send the second PDU of a run before the first is acknowledged, for rlite's
        // receiver begins anew at whatever comes first. An acknowledgement is put in.
        first_alone,
    };
    std::string file;
    unsigned number = 0;
    What what = What::first_alone;
};

struct Story {
    std::vector<Lower> lowers;
    std::string ours;             // the name of the IPC process
    std::string dif = "n.DIF";
    bool first = false;           // of the DIF
    std::uint64_t seed = 1;       // that draws the address that rlite drew
    Duration running{};           // since when it is there: before the first frame
    Duration flow_del_wait = Duration::milliseconds(500);
    std::string protection = "none";
    std::uint16_t ttl_outside = rina::kTtlDefault, ttl = rina::kTtlDefault;
    std::map<std::string, std::uint32_t> hosts;
    // Only what neighbours say to each other; flows are left out.
    bool only_neighbors = false;
    // Nothing was recorded between files: what ours says then is not looked at.
    bool has_gaps = false;
    // Frames of ours that crossed the frame before: when it was written, that had not been read.
    struct At {
        std::string file;
        unsigned number = 0;
    };
    std::vector<At> crossed;
    std::vector<Difference> differences;
};

struct Report {
    std::vector<std::string> failures;
    unsigned received = 0;   // frames that were given to our node
    unsigned same = 0;       // frames that it sent byte for byte
    unsigned different = 0;  // with a listed difference
    unsigned unrecorded = 0;  // in gaps
    unsigned delivered = 0;  // SDUs to applications
    unsigned drops = 0;
    std::size_t flows = 0;   // at the end
    bool is_member = false;
    bool mutated = false;    // there was such a frame
};

// A recorded frame of ours with one bit changed: the story must fail.
struct Mutation {
    std::size_t frame = 0;  // of those of ours that are compared as they are
    std::size_t bit = 0;
};

Report play(const std::string& directory, const Story& story,
            std::optional<Mutation> mutation = {});

}  // namespace sluice::golden
