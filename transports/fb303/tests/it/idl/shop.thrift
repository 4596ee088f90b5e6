// A service that has fb303 as its base.

include "fb303.thrift"

service Shop extends fb303.FacebookService {
  i64 price(1: string what)
}
