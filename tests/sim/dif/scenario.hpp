#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "link_model/link_model.hpp"

namespace sluice::sim {

// What one run is made of: a file says it, or a seed.
struct Scenario {
    std::string name = "swarm";
    std::uint64_t seed = 1;

    std::string topology = "line";  // line, ring, star, tree, mesh, random, segments, hosts
    std::size_t nodes = 2;
    unsigned levels = 1;            // normal DIFs on top of each other
    bool wide = false;              // 34-byte PCI
    std::string scheduler = "fifo";
    std::string protection = "none";

    // What joins nodes: wire, shim-eth, shim-udp, shim-hv or mixed, drawn for each. Of a list with
    // commas one after the other; the last for all others.
    std::string lower = "wire";
    std::size_t segment = 3;   // nodes on each, where there are segments; or hosts
    bool trunk = false;        // all Ethernet DIFs are VLANs of one switch
    bool lossy_rings = false;  // those of shim-hv lose what other links lose

    // Of every link, always.
    double link_mbps = 1000;
    double delay_ms = 1;
    // During the safety phase.
    double loss = 0, duplicate = 0, reorder = 0;

    // Workload.
    unsigned flows = 4;
    unsigned sdus = 50;         // in each direction
    unsigned sdu_bytes_max = 1400;
    double reliable = 0.5;      // share of the flows
    double gap_ms = 5;          // between the SDUs of a flow
    double closes_early = 0.2;  // share of the flows that are left in the middle

    // Trouble.
    unsigned cuts = 0;          // links that go down, and come back
    unsigned silent_cuts = 0;   // the same, and nobody is told
    unsigned crashes = 0;       // nodes
    unsigned partitions = 0;    // half of the nodes from the other half
    unsigned slow_readers = 0;
    unsigned tunings = 0;       // parameters that an operator changes
    unsigned disturbances = 0;  // of media, each as its kind can be disturbed
    bool crash_first = false;   // the node that all enrolled with
    bool hostile = false;       // the last node sends what it likes
    // Rarer.
    unsigned releases = 0;      // neighbours that an operator parts, for a while
    bool late_numbers = false;  // sequence numbers that roll over soon
    bool flow_control = false;  // for all flows, with small windows
    bool same_size = false;     // SDUs of two PDUs each, in order, of flows without retransmission
    bool bandwidth = false;     // some flows ask for some
    bool departs = false;       // in the end the last node dies
    bool impostor = false;      // the hostile node, if at the edge, speaks for others
    bool address_clash = false;  // one node does not give addresses to those that it lets in
    double safety_s = 60;
    double liveness_s = 150;
    // Shrinking: of all that was planned, only these (in the order of planning); empty: all.
    std::vector<bool> keep;
    bool checks_all_pairs = true;

    static Result<Scenario> load(const std::string& path);
    static Scenario draw(std::uint64_t seed);
    std::string to_string() const;
    // Other kinds of media than wires, for whatever was drawn.
    void draw_media();
    // One sentence, or nothing.
    static Result<> check_lower(const std::string& list);
    // Nodes and links stay where they are.
    bool is_orderly() const;

  private:
    void draw_rarer();
};

}  // namespace sluice::sim
