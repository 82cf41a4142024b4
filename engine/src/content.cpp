// What a writer is given, examined before anything is written.

#include "content.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "everglade/format.hpp"
#include "everglade/utf8.hpp"

namespace everglade {
namespace {

std::string at_document(std::size_t row) { return "document " + std::to_string(row) + ": "; }

void require_starts(const SegmentContent& content) {
    const auto starts = content.starts;
    if (content.n_terms > format::kMaxTerms) {
        refuse("n_terms is " + std::to_string(content.n_terms) + ": a vocabulary holds at most 2^24 terms");
    }
    if (starts.empty()) refuse("indptr is empty: it must hold one entry more than there are documents");
    if (starts.size() - 1 > format::kMaxDocuments) {
        refuse("a segment holds at most 2^30 documents, not " + std::to_string(starts.size() - 1));
    }
    if (content.terms.size() != content.impacts.size()) {
        refuse(std::to_string(content.terms.size()) + " terms but " + std::to_string(content.impacts.size()) +
               " impacts");
    }
    const bool framed = starts.front() == 0 && static_cast<std::uint64_t>(starts.back()) == content.terms.size();
    if (!framed || !std::is_sorted(starts.begin(), starts.end())) {
        refuse("indptr must start at 0, never fall, and end at the number of terms (" +
               std::to_string(content.terms.size()) + ")");
    }
}

void require_ids(const SegmentContent& content) {
    const auto starts = content.id_starts;
    if (starts.size() != content.starts.size()) {
        refuse("there must be one id for each document");
    }
    if (starts.front() != 0 || starts.back() != content.id_bytes.size() ||
        !std::is_sorted(starts.begin(), starts.end())) {
        refuse("the starts of the ids must begin at 0, never fall, and end at the number of id bytes");
    }
    std::string_view before;
    for (std::size_t row = 0; row + 1 < starts.size(); ++row) {
        const std::string_view id = content.id_bytes.substr(starts[row], starts[row + 1] - starts[row]);
        if (!is_utf8(id)) refuse(at_document(row) + "its id is not UTF-8");
        if (row > 0 && id <= before) {
            refuse(at_document(row) + "its id '" + std::string(id) + "' follows '" + std::string(before) +
                   "': documents must be sorted by the bytes of their ids, each once");
        }
        before = id;
    }
}

void require_order(std::span<const std::uint32_t> order, std::size_t n_documents) {
    if (order.size() != n_documents) {
        refuse("the order names " + std::to_string(order.size()) + " documents, but there are " +
               std::to_string(n_documents));
    }
    std::vector<bool> named(n_documents);
    for (const std::uint32_t row : order) {
        if (row >= n_documents || named[row]) {
            refuse("the order must name every document once: " + std::to_string(row) + " is there twice or too large");
        }
        named[row] = true;
    }
}

void require_weights(const SegmentContent& content) {
    const auto weights = *content.weights;
    if (!content.rows) refuse("weights are kept in the rows, and these are left out");
    if (weights.size() != content.terms.size()) {
        refuse(std::to_string(content.terms.size()) + " terms but " + std::to_string(weights.size()) + " weights");
    }
    const auto bad = std::find_if(weights.begin(), weights.end(),
                                  [](std::uint16_t weight) { return weight >= format::kInfiniteWeight; });
    if (bad != weights.end()) {
        refuse("weight " + std::to_string(bad - weights.begin()) + " is negative or not finite in float16");
    }
}

}  // namespace

void refuse(const std::string& why) { throw std::invalid_argument(why); }

void require_content(const SegmentContent& content) {
    require_starts(content);
    require_ids(content);
    if (content.order) require_order(*content.order, n_documents(content));
    if (content.weights) require_weights(content);
    if (content.postings && !content.rows) {
        refuse("a pruned segment needs its rows: without them nothing tells what was left out");
    }
    if (content.postings && content.postings->size() != content.terms.size()) {
        refuse(std::to_string(content.terms.size()) + " terms, but " + std::to_string(content.postings->size()) +
               " of them are said to be postings or not");
    }
}

void require_entry(const SegmentContent& content, std::size_t row, std::int64_t before, std::int32_t term,
                   std::uint32_t impact) {
    if (term < 0 || static_cast<std::uint32_t>(term) >= content.n_terms) {
        refuse(at_document(row) + "term " + std::to_string(term) + " is not in the vocabulary of " +
               std::to_string(content.n_terms));
    }
    if (term <= before) {
        refuse(at_document(row) + "term " + std::to_string(term) + " follows " + std::to_string(before) +
               ": terms must ascend, each once");
    }
    if (impact == 0) refuse(at_document(row) + "the impact of term " + std::to_string(term) + " is 0: leave it out");
}

}  // namespace everglade
