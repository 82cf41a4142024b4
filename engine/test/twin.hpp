#pragma once

// Searches on every path, and their slow twin.

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "check.hpp"
#include "everglade/search.hpp"

namespace twin {

using everglade::Path;
using everglade::Queries;
using everglade::SearchedSegment;
using everglade::Segment;

struct Found {
    std::vector<std::int32_t> segments;
    std::vector<std::uint32_t> locals;
    std::vector<std::uint32_t> scores;

    bool operator==(const Found&) const = default;
};

inline constexpr Path kPaths[] = {Path::scan, Path::cells, Path::automatic};

/// What a search finds, the same on every path.
inline Found search(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k,
                    std::size_t n_threads = 1) {
    const std::size_t size = queries.count() * k;
    std::optional<Found> before;
    for (const Path path : kPaths) {
        Found found{std::vector<std::int32_t>(size), std::vector<std::uint32_t>(size),
                    std::vector<std::uint32_t>(size)};
        everglade::search(segments, queries, k, n_threads, {found.segments, found.locals, found.scores}, path);
        if (before) CHECK(found == *before);
        before = std::move(found);
    }
    return *before;
}

inline bool is_hidden(const SearchedSegment& searched, std::uint32_t local) {
    return searched.hidden && ((*searched.hidden)[local / 8] >> (local % 8) & 1);
}

/// The slow twin: every score of every document, through the postings of each, sorted.
inline Found search_slowly(std::span<const SearchedSegment> segments, const Queries& queries, std::size_t k) {
    Found found;
    for (std::size_t query = 0; query < queries.count(); ++query) {
        std::map<std::uint32_t, std::uint64_t> impact_of;
        for (auto i = queries.starts[query]; i < queries.starts[query + 1]; ++i) {
            impact_of[static_cast<std::uint32_t>(queries.terms[i])] += queries.impacts[i];
        }
        std::vector<std::tuple<std::int64_t, std::string_view, std::int32_t, std::uint32_t>> hits;
        for (std::size_t s = 0; s < segments.size(); ++s) {
            const Segment& segment = *segments[s].segment;
            const everglade::GatheredRows rows = segment.gather_rows();
            for (std::uint32_t local = 0; local < segment.n_documents(); ++local) {
                if (is_hidden(segments[s], local)) continue;
                std::int64_t score = 0;
                for (auto i = rows.starts[local]; i < rows.starts[local + 1]; ++i) {
                    const auto impact = impact_of.find(rows.terms[i]);
                    if (impact != impact_of.end()) score += static_cast<std::int64_t>(impact->second * rows.impacts[i]);
                }
                if (score > 0) hits.emplace_back(-score, segment.id(local), static_cast<std::int32_t>(s), local);
            }
        }
        std::sort(hits.begin(), hits.end());
        for (std::size_t i = 0; i < k; ++i) {
            const bool hit = i < hits.size();
            found.segments.push_back(hit ? std::get<2>(hits[i]) : -1);
            found.locals.push_back(hit ? std::get<3>(hits[i]) : 0);
            found.scores.push_back(hit ? static_cast<std::uint32_t>(-std::get<0>(hits[i])) : 0);
        }
    }
    return found;
}

struct OwnedQueries {
    std::vector<std::int64_t> starts{0};
    std::vector<std::int32_t> terms;
    std::vector<std::uint32_t> impacts;

    void add(const std::vector<std::pair<std::int32_t, std::uint32_t>>& entries) {
        for (const auto& [term, impact] : entries) {
            terms.push_back(term);
            impacts.push_back(impact);
        }
        starts.push_back(static_cast<std::int64_t>(terms.size()));
    }
    Queries view() const { return {starts, terms, impacts}; }
};

}  // namespace twin
