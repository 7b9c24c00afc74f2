//! Calls of Spark's functions with columns, for the comparison of plans: their names by the number of arguments.

use tinderbox::prelude::*;

macro_rules! calls {
    ($add:ident: $($count:literal $arguments:tt => $($name:ident)*;)*) => {
        $(calls!(@each $add $count $arguments $($name)*);)*
    };
    (@each $add:ident $count:literal $arguments:tt $($name:ident)*) => {
        $($add(stringify!($name), $count, functions::$name $arguments);)*
    };
}

/// Gives each function to `add`: its name, and the call with so many of the columns `a`, `b` …
pub fn each(mut add: impl FnMut(&str, usize, Column)) {
    let c = |name: &str| col(name);
    calls! {
        add:
        0 () =>
            cume_dist curdate current_catalog current_database current_date current_path current_schema current_time
            current_timestamp current_timezone current_user dense_rank e input_file_block_length
            input_file_block_start input_file_name localtimestamp make_dt_interval make_interval make_ym_interval
            monotonically_increasing_id now percent_rank pi rand randn rank row_number session_user
            spark_partition_id try_make_interval unix_timestamp user uuid version;
        1 (c("a")) =>
            abs acos acosh any_value approxCountDistinct approx_count_distinct array_agg array_compact
            array_distinct array_max array_min array_size array_sort asc asc_nulls_first asc_nulls_last ascii asin
            asinh assert_true atan atanh avg base64 bin bit_and bit_count bit_length bit_or bit_xor bitmap_and_agg
            bitmap_bit_position bitmap_bucket_number bitmap_construct_agg bitmap_count bitmap_or_agg bitwiseNOT
            bitwise_not bool_and bool_or bround btrim cardinality cbrt ceil ceiling char char_length
            character_length chr collation collect_list collect_set cos cosh cot count countDistinct count_distinct
            count_if crc32 csc date_from_unix_date day dayname dayofmonth dayofweek dayofyear days degrees desc
            desc_nulls_first desc_nulls_last every exp explode explode_outer expm1 factorial first first_value
            flatten floor from_unixtime grouping hex hll_sketch_agg hll_sketch_estimate hll_union_agg hour hours
            initcap inline inline_outer is_valid_utf8 is_valid_variant is_variant_null isnan isnotnull isnull
            json_array_length json_object_keys kll_merge_agg_bigint kll_merge_agg_double kll_merge_agg_float
            kll_sketch_agg_bigint kll_sketch_agg_double kll_sketch_agg_float kll_sketch_get_n_bigint
            kll_sketch_get_n_double kll_sketch_get_n_float kll_sketch_to_string_bigint kll_sketch_to_string_double
            kll_sketch_to_string_float kurtosis last last_day last_value lcase length listagg listagg_distinct lit
            ln log log10 log1p log2 lower ltrim make_valid_utf8 map_entries map_from_entries map_keys map_values
            mask max md5 mean median min minute mode month monthname months negate negative ntile nullifzero
            octet_length parse_json posexplode posexplode_outer positive printf product quarter quote radians
            raise_error randstr reverse rint round rtrim schema_of_csv schema_of_json schema_of_variant
            schema_of_variant_agg schema_of_xml sec second sentences sha sha1 shuffle sign signum sin sinh size
            skewness some sort_array soundex sqrt st_asbinary st_geogfromwkb st_geomfromwkb st_srid std stddev
            stddev_pop stddev_samp str_to_map string_agg string_agg_distinct sum sumDistinct sum_distinct tan tanh
            theta_intersection_agg theta_sketch_agg theta_sketch_estimate theta_union_agg time_from_micros
            time_from_millis time_from_seconds time_to_micros time_to_millis time_to_seconds timestamp_micros
            timestamp_millis timestamp_seconds toDegrees toRadians to_binary to_csv to_date to_json to_time
            to_timestamp to_timestamp_ltz to_timestamp_ntz to_unix_timestamp to_variant_object to_xml trim try_avg
            try_parse_json try_sum try_to_binary try_to_date try_to_time try_to_timestamp try_url_decode
            try_validate_utf8 tuple_intersection_agg_double tuple_intersection_agg_integer
            tuple_sketch_estimate_double tuple_sketch_estimate_integer tuple_sketch_summary_double
            tuple_sketch_summary_integer tuple_sketch_theta_double tuple_sketch_theta_integer tuple_union_agg_double
            tuple_union_agg_integer ucase unbase64 unhex unix_date unix_micros unix_millis unix_seconds unwrap_udt
            upper url_decode url_encode validate_utf8 var_pop var_samp variance weekday weekofyear window_time year
            years zeroifnull;
        2 (c("a"), c("b")) =>
            add_months aes_decrypt aes_encrypt approx_percentile array_append array_contains array_except
            array_intersect array_join array_position array_prepend array_remove array_repeat array_union
            arrays_overlap atan2 bit_get bucket cast collate contains corr covar_pop covar_samp date_add date_diff
            date_format date_part date_sub date_trunc dateadd datediff datepart decode element_at encode endswith
            equal_null extract find_in_set format_number from_csv from_json from_utc_timestamp from_xml get
            get_json_object getbit greatest histogram_numeric hll_union hypot ifnull ilike instr
            kll_sketch_get_quantile_bigint kll_sketch_get_quantile_double kll_sketch_get_quantile_float
            kll_sketch_get_rank_bigint kll_sketch_get_rank_double kll_sketch_get_rank_float kll_sketch_merge_bigint
            kll_sketch_merge_double kll_sketch_merge_float least left levenshtein like locate map_contains_key
            map_from_arrays max_by min_by months_between nanvl next_day nth_value nullif nvl parse_url percentile
            percentile_approx pmod position pow power regexp regexp_count regexp_extract_all regexp_instr
            regexp_like regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
            regr_sxy regr_syy repeat replace right rlike sequence session_window shiftLeft shiftRight
            shiftRightUnsigned shiftleft shiftright shiftrightunsigned split st_setsrid startswith substr
            theta_difference theta_intersection theta_union time_bucket time_trunc to_char to_number
            to_utc_timestamp to_varchar trunc try_add try_aes_decrypt try_divide try_element_at try_mod try_multiply
            try_parse_url try_subtract try_to_number tuple_difference_double tuple_difference_integer
            tuple_difference_theta_double tuple_difference_theta_integer tuple_intersection_double
            tuple_intersection_integer tuple_intersection_theta_double tuple_intersection_theta_integer
            tuple_sketch_agg_double tuple_sketch_agg_integer tuple_union_double tuple_union_integer
            tuple_union_theta_double tuple_union_theta_integer uniform when xpath xpath_boolean xpath_double
            xpath_float xpath_int xpath_long xpath_number xpath_short xpath_string;
        3 (c("a"), c("b"), c("c")) =>
            array_insert conv convert_timezone count_min_sketch lpad make_date make_time nvl2 overlay regexp_extract
            regexp_replace rpad slice split_part substring substring_index time_diff timestamp_add timestamp_diff
            translate try_variant_get variant_get;
        4 (c("a"), c("b"), c("c"), c("d")) =>
            width_bucket;
        6 (c("a"), c("b"), c("c"), c("d"), c("e"), c("f")) =>
            make_timestamp make_timestamp_ltz make_timestamp_ntz try_make_timestamp try_make_timestamp_ltz
            try_make_timestamp_ntz;
    }
}
