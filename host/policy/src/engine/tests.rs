mod failures;
mod memo;
mod nodes;
mod order;
